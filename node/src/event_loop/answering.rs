//! Whose request is worked on next.
//!
//! Each device has a line of its own with an end, and the lines take turns. So
//! one that asks without a pause waits for itself and for nobody else, however
//! many of them there are.

use std::collections::{BTreeMap, VecDeque};

use kinsync_protocol::id::DeviceId;

use crate::passes::ANSWERING_MAX;

/// Requests of one device that are worked on at the same time. Making a page
/// keeps a processor busy, and one device never keeps all of them so.
const AT_ONCE_MAX: usize = 1;

/// Requests of all devices that are worked on at the same time.
const WORK_MAX: usize = 16;

/// Requests of other devices, each with what is needed to answer it.
#[derive(Debug)]
pub(super) struct Answering<T> {
    lines: BTreeMap<DeviceId, Line<T>>,
    /// Whose turn it is: every device with something that waits, once.
    turns: VecDeque<DeviceId>,
    working: usize,
}

#[derive(Debug)]
struct Line<T> {
    working: usize,
    waiting: VecDeque<T>,
}

impl<T> Default for Answering<T> {
    fn default() -> Self {
        Self { lines: BTreeMap::new(), turns: VecDeque::new(), working: 0 }
    }
}

impl<T> Answering<T> {
    /// Puts a request in line; gives it back if there are too many of this
    /// device.
    pub(super) fn push(&mut self, device: DeviceId, request: T) -> Result<(), T> {
        let line = self.lines.entry(device).or_insert_with(|| Line { working: 0, waiting: VecDeque::new() });
        if line.working + line.waiting.len() >= ANSWERING_MAX {
            return Err(request);
        }
        if line.waiting.is_empty() {
            self.turns.push_back(device);
        }
        line.waiting.push_back(request);
        Ok(())
    }

    /// The request to begin with now, if there is one; [`Answering::done`] says
    /// that it is answered.
    pub(super) fn next(&mut self) -> Option<(DeviceId, T)> {
        if self.working >= WORK_MAX {
            return None;
        }
        let lines = &self.lines;
        let may_go = |device: &DeviceId| lines.get(device).is_some_and(|line| line.working < AT_ONCE_MAX);
        let turn = self.turns.iter().position(may_go)?;
        let device = self.turns.remove(turn)?;
        let line = self.lines.get_mut(&device)?;
        let request = line.waiting.pop_front()?;
        line.working += 1;
        self.working += 1;
        if !line.waiting.is_empty() {
            self.turns.push_back(device);
        }
        Some((device, request))
    }

    /// A request of the device is answered, or will not be.
    pub(super) fn done(&mut self, device: DeviceId) {
        if let Some(line) = self.lines.get_mut(&device) {
            line.working = line.working.saturating_sub(1);
            self.working = self.working.saturating_sub(1);
            if line.working == 0 && line.waiting.is_empty() {
                self.lines.remove(&device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: usize) -> DeviceId {
        DeviceId([u8::try_from(number).unwrap(); 32])
    }

    /// Everything that can begin now, by device.
    fn begun(answering: &mut Answering<usize>) -> Vec<(DeviceId, usize)> {
        std::iter::from_fn(|| answering.next()).collect()
    }

    #[test]
    fn one_device_has_so_many_requests_here_and_no_more() {
        let mut answering = Answering::default();
        for number in 0..ANSWERING_MAX {
            assert_eq!(answering.push(device(1), number), Ok(()));
        }
        assert_eq!(answering.push(device(1), 99), Err(99));
        let expected: Vec<_> = (0..AT_ONCE_MAX).map(|number| (device(1), number)).collect();
        assert_eq!(begun(&mut answering), expected);
        assert_eq!(answering.push(device(1), 99), Err(99), "what is worked on counts");
        answering.done(device(1));
        assert_eq!(answering.push(device(1), 99), Ok(()));
        assert_eq!(begun(&mut answering), [(device(1), AT_ONCE_MAX)], "in the order in which they came");
    }

    #[test]
    fn devices_take_turns() {
        let mut answering = Answering::default();
        for number in 0..4 {
            answering.push(device(1), number).unwrap();
        }
        answering.push(device(2), 10).unwrap();
        answering.push(device(3), 20).unwrap();
        assert_eq!(begun(&mut answering), [(device(1), 0), (device(2), 10), (device(3), 20)]);
        answering.done(device(1));
        assert_eq!(begun(&mut answering), [(device(1), 1)]);
    }

    /// However many devices ask for all that they get, one more waits no longer
    /// than for a request of each.
    #[test]
    fn greedy_devices_take_no_place_from_another() {
        let greedy = WORK_MAX;
        let mut answering = Answering::default();
        for number in 0..ANSWERING_MAX {
            for other in 0..greedy {
                answering.push(device(other), number).unwrap();
            }
        }
        let mut working = VecDeque::from(begun(&mut answering));
        assert_eq!(working.len(), WORK_MAX);
        let modest = device(greedy);
        answering.push(modest, 0).unwrap();
        let mut waited = 0;
        loop {
            let (other, number) = working.pop_front().unwrap();
            answering.done(other);
            answering.push(other, number).unwrap();
            let begun = begun(&mut answering);
            assert_eq!(begun.len(), 1, "a place that is free is taken");
            if begun[0].0 == modest {
                break;
            }
            working.extend(begun);
            waited += 1;
        }
        assert!(waited <= greedy, "it waited for {waited} requests");
    }

    #[test]
    fn all_devices_together_have_so_many_worked_on() {
        let mut answering = Answering::default();
        for number in 0..=WORK_MAX {
            for request in 0..AT_ONCE_MAX {
                answering.push(device(number), request).unwrap();
            }
        }
        assert_eq!(begun(&mut answering).len(), WORK_MAX);
    }

    #[test]
    fn nothing_stays_of_a_device_that_has_nothing_here() {
        let mut answering = Answering::default();
        answering.push(device(1), 0).unwrap();
        assert_eq!(begun(&mut answering), [(device(1), 0)]);
        answering.done(device(1));
        assert!(answering.lines.is_empty() && answering.turns.is_empty());
        assert_eq!(answering.working, 0);
    }
}
