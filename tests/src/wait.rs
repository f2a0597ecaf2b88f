//! Waiting for something to become true, never for time to pass.

use std::time::Duration;

/// How long to leave the processor to others between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// How often [`until`] looks: half a minute of pauses, far beyond what any event here takes on a busy machine.
const LOOKS_MAX: u32 = 6_000;

/// Waits until `look` answers, and returns the answer.
///
/// The limit only ends a test that would hang; no test may pass because of it.
///
/// # Panics
///
/// If nothing came, with `what` as the explanation.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS_MAX {
        if let Some(answer) = look() {
            return answer;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("waited in vain until {what}");
}

#[test]
fn an_answer_that_comes_late_is_returned() {
    let mut looks = 0;
    let answer = until("the third look", || {
        looks += 1;
        (looks == 3).then_some(looks)
    });
    assert_eq!(answer, 3);
}
