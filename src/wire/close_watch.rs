//! What the server still reads after its own Close.

use super::decoder::{CutHeader, Partial};
use super::frame::Opcode;

/// Finds the peer's Close among what it sends after the server sent its own: nothing else of it matters then, and
/// nothing is decoded or kept (RFC 6455 section 5.5.1).
#[derive(Debug)]
pub struct CloseWatch {
    cut: CutHeader,
    /// How many bytes of the frame in progress have not come.
    bytes_left: u64,
    /// Whether the frame in progress is a Close.
    closes: bool,
    /// Whether what came was no frame: there is no telling where the next one begins.
    lost: bool,
}

impl CloseWatch {
    /// Watches a connection from where the decoder left it.
    pub fn after(partial: Option<Box<Partial>>) -> Self {
        let partial = partial.unwrap_or_default();
        Self {
            cut: partial.cut,
            bytes_left: partial.frame.map_or(0, |frame| frame.bytes_left as u64),
            closes: partial.frame.is_some_and(|frame| frame.opcode == Opcode::Close),
            lost: false,
        }
    }

    /// Whether a whole Close frame has come, now or before. After something that is no frame: never.
    pub fn saw_close(&mut self, mut chunk: &[u8]) -> bool {
        while !self.lost {
            let skipped = usize::try_from(self.bytes_left).unwrap_or(usize::MAX).min(chunk.len());
            chunk = &chunk[skipped..];
            self.bytes_left -= skipped as u64;
            if self.bytes_left > 0 {
                return false;
            }
            if self.closes {
                return true;
            }
            match self.cut.complete(&mut chunk, u64::MAX) {
                Ok(Some(header)) => {
                    let cut_bytes = std::mem::take(&mut self.cut).bytes().len();
                    self.bytes_left = (header.header_bytes - cut_bytes) as u64 + header.payload_bytes;
                    self.closes = header.opcode == Opcode::Close;
                }
                Ok(None) => return false,
                Err(_) => self.lost = true,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::effects::CloseReason;
    use crate::wire::decoder::tests::{FIN, LIMIT, Peer, conversation, frame};

    #[test]
    fn a_watch_finds_the_close_wherever_it_starts_and_wherever_chunks_end() {
        let (bytes, _, _) = conversation();
        for start in 0..bytes.len() {
            for size in [1, 5, bytes.len()] {
                let mut peer = Peer::new(LIMIT);
                peer.hear(&bytes[..start]);
                let mut watch = CloseWatch::after(peer.partial.take());
                let chunks: Vec<&[u8]> = bytes[start..].chunks(size).collect();
                let (last, before) = chunks.split_last().unwrap();
                for chunk in before {
                    assert!(!watch.saw_close(chunk), "from {start} by {size}: too early");
                }
                assert!(watch.saw_close(last), "from {start} by {size}");
                assert!(watch.saw_close(b"whatever"), "it stays seen");
            }
        }
    }

    #[test]
    fn a_watch_passes_over_what_was_refused_if_it_is_a_frame() {
        let close = frame(FIN | 8, &[]);
        let long = frame(FIN | 2, &b"x".repeat(LIMIT + 1));
        for cut in [0, 1, 5, 9, 10, 14] {
            let mut peer = Peer::new(LIMIT);
            let mut rest = peer.hear(&long[..cut]).to_vec();
            if peer.ended.is_none() {
                rest = peer.hear(&long[cut..]).to_vec();
            } else {
                rest.extend_from_slice(&long[cut..]);
            }
            assert_eq!(peer.ended, Some(CloseReason::TooLarge), "cut at {cut}");
            let mut watch = CloseWatch::after(peer.partial.take());
            assert!(!watch.saw_close(&rest), "cut at {cut}");
            assert!(watch.saw_close(&close), "cut at {cut}");
        }
    }

    #[test]
    fn a_watch_gives_up_on_garbage() {
        let mut watch = CloseWatch::after(None);
        assert!(!watch.saw_close(b"\x81\x01x"));
        assert!(!watch.saw_close(&frame(FIN | 8, &[])));
    }
}
