//! What a terminal showed, as far back as is kept, for readers that are each at a place of their own.

use std::collections::VecDeque;
use std::fmt;

/// How much a reader takes at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// How far the next line's beginning is looked for, where reading begins in the middle of what was said.
const LINE_BYTES: usize = 4 << 10;

/// The last bytes that a program wrote. Places are counted from its first byte.
pub(super) struct Scrollback {
    kept: VecDeque<u8>,
    end: u64,
    bytes_max: usize,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// Where to read on.
    pub(super) next: u64,
    /// How many bytes before them are not kept any more.
    pub(super) lost: u64,
}

impl fmt::Debug for Scrollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrollback").field("kept", &self.kept.len()).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Scrollback {
    /// Keeps this many bytes at the most.
    pub(super) const fn new(bytes_max: usize) -> Scrollback {
        Scrollback { kept: VecDeque::new(), end: 0, bytes_max }
    }

    /// Adds what was written, and forgets the oldest of what is too much.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let newest = bytes.get(bytes.len().saturating_sub(self.bytes_max)..).unwrap_or_default();
        let excess = (self.kept.len() + newest.len()).saturating_sub(self.bytes_max);
        self.kept.drain(..excess.min(self.kept.len()));
        self.kept.extend(newest);
    }

    /// Everything that is kept, from a line's beginning on.
    pub(super) fn all(&self) -> Found {
        self.found(0, usize::MAX)
    }

    /// What follows a place, a part of it at a time; nothing when there is nothing yet.
    pub(super) fn after(&self, place: u64) -> Found {
        self.found(place, CHUNK_BYTES)
    }

    fn found(&self, place: u64, bytes_max: usize) -> Found {
        let begin = self.end - self.kept.len() as u64;
        let offset = match usize::try_from(place.saturating_sub(begin)) {
            Ok(_) if place < begin => self.next_line(),
            Ok(offset) => offset.min(self.kept.len()),
            Err(_) => self.kept.len(),
        };
        let until = offset.saturating_add(bytes_max).min(self.kept.len());
        let lost = if place < begin { begin + offset as u64 - place } else { 0 };
        Found { bytes: self.kept.range(offset..until).copied().collect(), next: begin + until as u64, lost }
    }

    /// Where the first whole line begins, so that nothing is read from the middle of a character or of a control sequence.
    fn next_line(&self) -> usize {
        self.kept.iter().take(LINE_BYTES).position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8], next: u64, lost: u64) -> Found {
        Found { bytes: bytes.to_vec(), next, lost }
    }

    #[test]
    fn a_reader_goes_on_where_it_was() {
        let mut scrollback = Scrollback::new(16);
        assert_eq!(scrollback.after(0), found(b"", 0, 0));
        scrollback.push(b"one\n");
        assert_eq!(scrollback.after(0), found(b"one\n", 4, 0));
        scrollback.push(b"two");
        assert_eq!(scrollback.after(4), found(b"two", 7, 0));
        assert_eq!(scrollback.after(7), found(b"", 7, 0));
        assert_eq!(scrollback.all(), found(b"one\ntwo", 7, 0));
    }

    #[test]
    fn what_is_too_old_is_lost_up_to_a_lines_beginning_and_counted() {
        let mut scrollback = Scrollback::new(10);
        scrollback.push(b"first line\nx\ny\n");
        assert_eq!(scrollback.after(0), found(b"x\ny\n", 15, 11));
        assert_eq!(scrollback.after(3), found(b"x\ny\n", 15, 8));
        assert_eq!(scrollback.after(6), found(b"line\nx\ny\n", 15, 0));
        scrollback.push(b"a line that is longer than all that is kept");
        assert_eq!(scrollback.all(), found(b"at is kept", 58, 48));
    }

    #[test]
    fn much_is_read_in_parts() {
        let mut scrollback = Scrollback::new(1 << 20);
        scrollback.push(&vec![b'x'; CHUNK_BYTES + 1]);
        let first = scrollback.after(0);
        assert_eq!((first.bytes.len(), first.next), (CHUNK_BYTES, CHUNK_BYTES as u64));
        assert_eq!(scrollback.after(first.next).bytes.len(), 1);
        assert_eq!(scrollback.all().bytes.len(), CHUNK_BYTES + 1);
    }

    proptest::proptest! {
        /// However the output comes in pieces and however the reader takes turns with it: a reader that keeps up reads every byte once.
        #[test]
        fn a_reader_that_keeps_up_misses_nothing(pieces in proptest::collection::vec(proptest::collection::vec(0_u8..255, 0..40), 0..30)) {
            let (mut scrollback, mut read, mut place) = (Scrollback::new(40), Vec::new(), 0);
            for piece in &pieces {
                scrollback.push(piece);
                let found = scrollback.after(place);
                proptest::prop_assert_eq!(found.lost, 0);
                read.extend(found.bytes);
                place = found.next;
            }
            proptest::prop_assert_eq!(read, pieces.concat());
        }
    }
}
