//! Frames: a length in four bytes, big-endian, then that many bytes.
//!
//! What the bytes mean is the business of the `protocol` crate. This file
//! makes sure that nobody has to hold more of them than agreed, and that a
//! peer which stops in the middle of a frame is given up.

use std::{io, time::Duration};

use libp2p::{
    StreamProtocol,
    futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    request_response,
};
use thiserror::Error;
use tokio::time::timeout;

use super::protocols::{Limits, Protocol};

/// How much room a frame is given before its bytes have come.
///
/// A peer that claims a megabyte and sends nothing costs this much.
const STEP: usize = 64 * 1024;

/// Why a frame could not be read or written.
///
/// Travels inside an [`io::Error`]; [`FrameError::of`] finds it again.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is longer than this protocol allows; nothing of it was read
    /// or written.
    #[error("a frame of {length} bytes, {limit} are allowed")]
    TooLarge {
        /// What the frame's header says, or what we were about to write.
        length: u64,
        /// What is allowed.
        limit: usize,
    },
    /// The stream ended in the middle of a frame.
    #[error("the stream ended after {received} of {expected} bytes")]
    CutShort {
        /// How many bytes had come.
        received: usize,
        /// How many the frame has.
        expected: usize,
    },
    /// Not one byte moved for this long.
    #[error("no byte moved for {} s", after.as_secs())]
    Stalled {
        /// How long we waited.
        after: Duration,
    },
}

impl FrameError {
    /// The frame error that `error` carries.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        let kind = match error {
            FrameError::TooLarge { .. } => io::ErrorKind::InvalidData,
            FrameError::CutShort { .. } => io::ErrorKind::UnexpectedEof,
            FrameError::Stalled { .. } => io::ErrorKind::TimedOut,
        };
        Self::new(kind, error)
    }
}

/// Reads and writes the frames of one [`Protocol`].
#[derive(Clone, Debug)]
pub struct Frames {
    limits: Limits,
}

impl Frames {
    /// The frames of `protocol`, within its limits.
    pub fn new(protocol: Protocol) -> Self {
        Self { limits: protocol.limits() }
    }
}

impl request_response::Codec for Frames {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_frame(io, self.limits.request, self.limits.idle, self.limits.idle).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_frame(io, self.limits.answer, self.limits.patience, self.limits.idle).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, frame: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, frame, self.limits.request, self.limits.idle).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, frame: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, frame, self.limits.answer, self.limits.idle).await
    }
}

/// Reads one frame of at most `limit` bytes.
///
/// Waits `patience` for the first byte and `idle` for every further one.
async fn read_frame<T>(io: &mut T, limit: usize, patience: Duration, idle: Duration) -> io::Result<Vec<u8>>
where
    T: AsyncRead + Unpin,
{
    let mut header = [0; 4];
    let mut filled = 0;
    while let Some(rest) = header.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let wait = if filled == 0 { patience } else { idle };
        match within(wait, io.read(rest)).await? {
            0 => return Err(FrameError::CutShort { received: filled, expected: 4 }.into()),
            read => filled += read,
        }
    }

    let claimed = u32::from_be_bytes(header);
    let length = match usize::try_from(claimed) {
        Ok(length) if length <= limit => length,
        _ => return Err(FrameError::TooLarge { length: claimed.into(), limit }.into()),
    };

    let mut frame = Vec::new();
    let mut filled = 0;
    while filled < length {
        frame.resize(length.min(filled + STEP), 0);
        let room = frame.get_mut(filled..).unwrap_or_default();
        match within(idle, io.read(room)).await? {
            0 => return Err(FrameError::CutShort { received: filled, expected: length }.into()),
            read => filled += read,
        }
    }
    Ok(frame)
}

/// Writes `frame` with its length in front, or nothing if it is too large.
///
/// Waits `idle` for every step that the stream takes.
async fn write_frame<T>(io: &mut T, mut frame: Vec<u8>, limit: usize, idle: Duration) -> io::Result<()>
where
    T: AsyncWrite + Unpin,
{
    let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= limit);
    let Some(length) = length else {
        return Err(FrameError::TooLarge { length: frame.len() as u64, limit }.into());
    };
    frame.splice(0..0, length.to_be_bytes());

    let mut rest = frame.as_slice();
    while !rest.is_empty() {
        match within(idle, io.write(rest)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => rest = rest.get(written..).unwrap_or_default(),
        }
    }
    within(idle, io.flush()).await
}

/// What `step` gives, or [`FrameError::Stalled`] if it takes longer than `wait`.
async fn within<T>(wait: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(wait, step).await.unwrap_or_else(|_| Err(FrameError::Stalled { after: wait }.into()))
}

#[cfg(test)]
mod tests {
    use libp2p::futures::io::Cursor;
    use tokio::io::duplex;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn read(bytes: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
        read_frame(&mut Cursor::new(bytes), limit, SECOND, SECOND)
            .await
            .map_err(|error| FrameError::of(&error).unwrap().clone())
    }

    async fn written(frame: Vec<u8>, limit: usize) -> Result<Vec<u8>, FrameError> {
        let mut bytes = Cursor::new(Vec::new());
        match write_frame(&mut bytes, frame, limit, SECOND).await {
            Ok(()) => Ok(bytes.into_inner()),
            Err(error) => {
                assert!(bytes.into_inner().is_empty(), "a refused frame leaves nothing on the wire");
                Err(FrameError::of(&error).unwrap().clone())
            }
        }
    }

    #[tokio::test]
    async fn a_frame_comes_back_as_it_was_written() {
        for length in [0, 1, 3, STEP - 1, STEP, STEP + 1, 3 * STEP + 7] {
            let frame: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let bytes = written(frame.clone(), length).await.unwrap();
            assert_eq!(bytes[..4], (length as u32).to_be_bytes());
            assert_eq!(read(&bytes, length).await.unwrap(), frame);
        }
    }

    #[tokio::test]
    async fn a_frame_at_the_limit_passes_and_one_byte_more_does_not() {
        for protocol in Protocol::ALL {
            let limit = protocol.limits().request;
            let at_limit = written(vec![7; limit], limit).await.unwrap();
            assert_eq!(read(&at_limit, limit).await.unwrap().len(), limit);

            let too_large = FrameError::TooLarge { length: limit as u64 + 1, limit };
            assert_eq!(written(vec![7; limit + 1], limit).await.unwrap_err(), too_large);
            let over = written(vec![7; limit + 1], limit + 1).await.unwrap();
            assert_eq!(read(&over, limit).await.unwrap_err(), too_large);
        }
    }

    #[tokio::test]
    async fn a_lying_length_is_refused_before_any_room_is_made() {
        let header = u32::MAX.to_be_bytes();
        let error = read(&header, 4096).await.unwrap_err();
        assert_eq!(error, FrameError::TooLarge { length: u32::MAX.into(), limit: 4096 });
    }

    #[tokio::test]
    async fn a_frame_that_ends_early_is_cut_short_and_not_too_large() {
        let bytes = written(vec![1; 100], 100).await.unwrap();
        assert_eq!(read(&bytes[..2], 100).await, Err(FrameError::CutShort { received: 2, expected: 4 }));
        assert_eq!(read(&bytes[..4], 100).await, Err(FrameError::CutShort { received: 0, expected: 100 }));
        assert_eq!(read(&bytes[..103], 100).await, Err(FrameError::CutShort { received: 99, expected: 100 }));
        assert_eq!(read(&[], 100).await, Err(FrameError::CutShort { received: 0, expected: 4 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_frame_arrives_and_a_stuck_one_is_given_up() {
        let (near, far) = duplex(16);
        let (mut near, mut far) = (near.compat(), far.compat());
        let slow = tokio::spawn(async move {
            far.write_all(&40u32.to_be_bytes()).await.unwrap();
            for byte in 0..40 {
                tokio::time::sleep(SECOND * 9).await;
                far.write_all(&[byte]).await.unwrap();
            }
            far
        });
        let idle = SECOND * 10;
        assert_eq!(read_frame(&mut near, 40, idle, idle).await.unwrap().len(), 40);

        let mut far = slow.await.unwrap();
        far.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
        let stuck = read_frame(&mut near, 40, idle, idle).await.unwrap_err();
        assert_eq!(FrameError::of(&stuck), Some(&FrameError::Stalled { after: idle }));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_long_to_begin() {
        let (near, far) = duplex(16);
        let (mut near, mut far) = (near.compat(), far.compat());
        tokio::spawn(async move {
            tokio::time::sleep(SECOND * 130).await;
            write_frame(&mut far, vec![1], 1, SECOND).await
        });
        assert_eq!(read_frame(&mut near, 1, SECOND * 135, SECOND).await.unwrap(), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (near, _far) = duplex(16);
        let stuck = write_frame(&mut near.compat(), vec![0; 100], 100, SECOND).await.unwrap_err();
        assert_eq!(FrameError::of(&stuck), Some(&FrameError::Stalled { after: SECOND }));
    }
}
