//! What a program showed before, for somebody who comes later: without its questions.
//!
//! Programs ask terminals who they are, where the cursor is, which colours they have. A terminal that is shown such a question again answers
//! it again, and the answer, which nobody waits for any more, arrives as if somebody had typed it.

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// The text without its questions (ECMA-48 and xterm's control sequences).
pub(super) fn without_questions(text: &[u8]) -> Vec<u8> {
    let mut quiet = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.iter().position(|byte| *byte == ESCAPE) {
        let (plain, sequence) = rest.split_at(start);
        let (sequence, after) = sequence.split_at(length(sequence));
        quiet.extend_from_slice(plain);
        if !is_question(sequence) {
            quiet.extend_from_slice(sequence);
        }
        rest = after;
    }
    quiet.extend_from_slice(rest);
    quiet
}

/// How long the sequence is that `text` begins with, its escape character included.
fn length(text: &[u8]) -> usize {
    let end = |start: usize, is_end: fn(u8) -> bool| {
        let tail = text.get(start..).unwrap_or_default();
        tail.iter().position(|byte| is_end(*byte)).map_or(text.len(), |found| start + found)
    };
    let length = match text.get(1) {
        // CSI: parameters and intermediates, then one final byte.
        Some(b'[') => end(2, |byte| !(0x20..=0x3f).contains(&byte)) + 1,
        // OSC and DCS: a text that BEL or ST (escape, backslash) ends. Any other escape gives it up.
        Some(b']' | b'P') => {
            let end = end(2, |byte| matches!(byte, BELL | ESCAPE));
            match (text.get(end), text.get(end + 1)) {
                (Some(&BELL), _) => end + 1,
                (Some(&ESCAPE), Some(b'\\')) => end + 2,
                _ => end,
            }
        }
        _ => 2,
    };
    length.min(text.len())
}

fn is_question(sequence: &[u8]) -> bool {
    match sequence {
        // Who are you: DECID, primary, secondary and tertiary attributes.
        [ESCAPE, b'Z'] | [ESCAPE, b'[', .., b'c'] => true,
        // How are you, where is the cursor; but `CSI > n` is a setting of the keyboard's.
        [ESCAPE, b'[', mark, .., b'n'] => *mark != b'>',
        // What is this mode, which version are you, which keys do you report.
        [ESCAPE, b'[', .., b'$', b'p'] | [ESCAPE, b'[', b'>', .., b'q'] | [ESCAPE, b'[', b'?', .., b'u'] => true,
        // What is this setting, what can you do.
        [ESCAPE, b'P', b'$' | b'+', b'q', ..] => true,
        // Which colour is this.
        [ESCAPE, b']', text @ ..] => {
            let text = text.strip_suffix(&[BELL]).or_else(|| text.strip_suffix(b"\x1b\\")).unwrap_or(text);
            text.ends_with(b";?")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_left_out_and_nothing_else_is() {
        let kept = "a\x1b[1;31mred\x1b[m \x1b[2J\x1b[?1049h\x1b]0;title?\x07 \x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\ \x1b[>4;1m\x1b[>4n\x1b(B é";
        assert_eq!(without_questions(kept.as_bytes()), kept.as_bytes());
        for question in [
            "\x1b[c",
            "\x1b[0c",
            "\x1b[>c",
            "\x1b[=c",
            "\x1bZ",
            "\x1b[5n",
            "\x1b[6n",
            "\x1b[?6n",
            "\x1b[?12$p",
            "\x1b[4$p",
            "\x1b[>q",
            "\x1b[>0q",
            "\x1b[?u",
            "\x1bP$qm\x1b\\",
            "\x1bP+q544e\x1b\\",
            "\x1b]11;?\x07",
            "\x1b]4;1;?\x1b\\",
        ] {
            let text = format!("before{question}after");
            assert_eq!(without_questions(text.as_bytes()), b"beforeafter", "{question:?}");
        }
    }

    #[test]
    fn a_sequence_that_is_cut_off_stays_as_it_is() {
        for text in ["x\x1b", "x\x1b[", "x\x1b[12;", "x\x1b]0;ti", "x\x1bP", "x\x1b]0;a\x1b[31m", "\x1b[31"] {
            assert_eq!(without_questions(text.as_bytes()), text.as_bytes(), "{text:?}");
        }
        assert_eq!(without_questions(b"\x1b]0;a\x1b[6nb"), b"\x1b]0;ab", "what gives a text up is read for itself");
    }

    proptest::proptest! {
        /// Whatever a program writes: nothing is added, and what holds no escape character stays as it is.
        #[test]
        fn no_text_breaks_it(text in proptest::collection::vec(proptest::sample::select(b"\x1b[]P?>$;\\\x07cnpqu0Z".to_vec()), 0..60)) {
            let quiet = without_questions(&text);
            proptest::prop_assert!(quiet.len() <= text.len());
            let plain: Vec<u8> = text.into_iter().filter(|byte| *byte != ESCAPE).collect();
            proptest::prop_assert_eq!(without_questions(&plain), plain);
        }
    }
}
