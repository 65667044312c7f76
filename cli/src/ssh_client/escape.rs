//! The escapes of a terminal session, as OpenSSH has them: `~` at the beginning of a line says that the next key is for us.

/// The key that begins one.
const ESCAPE: u8 = b'~';
/// Ctrl-Z.
const SUSPEND: u8 = 0x1a;
/// What `~?` shows.
pub(super) const HELP: &str = "\r\nSupported escape sequences:\r\n \
     ~.   - end the connection\r\n \
     ~^Z  - suspend berth\r\n \
     ~?   - this message\r\n \
     ~~   - send the escape character by typing it twice\r\n\
     (Note that escapes are only recognized immediately after newline.)\r\n";

/// What is to be done with the keys that were typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// Send these.
    Send(Vec<u8>),
    /// End the connection.
    End,
    /// Suspend this program.
    Suspend,
    /// Show the escapes.
    Help,
}

/// Reads keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// At the beginning of a line.
    Begin,
    /// Within a line.
    Within,
    /// After the escape key, which waits for the next one.
    Escaped,
}

impl Escapes {
    /// What these keys mean, in order.
    pub(super) fn read(&mut self, typed: &[u8]) -> Vec<Key> {
        let (mut keys, mut send) = (Vec::new(), Vec::new());
        for &key in typed {
            let command = match (*self, key) {
                (Self::Begin, ESCAPE) => {
                    *self = Self::Escaped;
                    continue;
                }
                (Self::Escaped, b'.') => Some(Key::End),
                (Self::Escaped, SUSPEND) => Some(Key::Suspend),
                (Self::Escaped, b'?') => Some(Key::Help),
                // The escape key itself, typed twice.
                (Self::Escaped, ESCAPE) => None,
                (Self::Escaped, _) => {
                    send.push(ESCAPE);
                    None
                }
                _ => None,
            };
            if let Some(command) = command {
                flush(&mut send, &mut keys);
                keys.push(command);
                *self = Self::Begin;
                continue;
            }
            send.push(key);
            *self = if matches!(key, b'\r' | b'\n') { Self::Begin } else { Self::Within };
        }
        flush(&mut send, &mut keys);
        keys
    }
}

fn flush(send: &mut Vec<u8>, keys: &mut Vec<Key>) {
    if !send.is_empty() {
        keys.push(Key::Send(std::mem::take(send)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What typing this does, in one go and key by key, which must be the same.
    fn typed(keys: &[u8]) -> String {
        let shown = |keys: Vec<Key>| -> String {
            let one = |key: Key| match key {
                Key::Send(bytes) => String::from_utf8(bytes).unwrap().replace('\r', "|"),
                other => format!("<{other:?}>"),
            };
            keys.into_iter().map(one).collect()
        };
        let whole = shown(Escapes::Begin.read(keys));
        let mut escapes = Escapes::Begin;
        assert_eq!(shown(keys.iter().flat_map(|key| escapes.read(&[*key])).collect()), whole);
        whole
    }

    #[test]
    fn an_escape_counts_at_the_beginning_of_a_line_only() {
        assert_eq!(typed(b"~."), "<End>");
        assert_eq!(typed(b"ls\r~."), "ls|<End>");
        assert_eq!(typed(b"ls ~.\r"), "ls ~.|");
        assert_eq!(typed(b"\r~~.\r"), "|~.|");
        assert_eq!(typed(b"~x~."), "~x~.");
        assert_eq!(typed(b"~\r~."), "~|<End>");
        assert_eq!(typed(b"a\r~?b\r~\x1ac"), "a|<Help>b|<Suspend>c");
        assert_eq!(typed(b"~?~."), "<Help><End>");
    }
}
