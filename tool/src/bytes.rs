//! Keys and values as text: escapes, hexadecimal digits and base64, each exactly reversible.
//!
//! Escapes are `\\`, `\n`, `\r`, `\t`, `\0` and `\xNN`. Printable UTF-8 stands for itself;
//! escaped are the backslash, control characters (C0, DEL, C1), marks that change the
//! direction of text, separators of lines and paragraphs, the byte order mark, and bytes that
//! are not UTF-8.

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};

/// How keys and values are written as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Escaped,
    Hex,
    Base64,
}

impl Encoding {
    /// Appends `bytes` as text to `text`.
    pub fn encode(self, bytes: &[u8], text: &mut Vec<u8>) {
        match self {
            Encoding::Escaped => escape(bytes, text),
            Encoding::Hex => append(&HEXLOWER, bytes, text),
            Encoding::Base64 => append(&BASE64, bytes, text),
        }
    }

    /// The bytes that `text` stands for, or why it stands for none.
    pub fn decode(self, text: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Encoding::Escaped => unescape(text),
            Encoding::Hex => HEXLOWER_PERMISSIVE
                .decode(text)
                .map_err(|_| format!("{} is not hexadecimal", printable(text))),
            Encoding::Base64 => BASE64
                .decode(text)
                .map_err(|_| format!("{} is not base64 with padding", printable(text))),
        }
    }
}

fn append(digits: &data_encoding::Encoding, bytes: &[u8], text: &mut Vec<u8>) {
    let end = text.len();
    text.resize(end + digits.encode_len(bytes.len()), 0);
    digits.encode_mut(bytes, &mut text[end..]);
}

/// Bytes for a message: escaped.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    escape(bytes, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether an ASCII byte stands for itself.
fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) && byte != b'\\'
}

/// Whether a character that is not ASCII must not reach a terminal.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn escape(bytes: &[u8], text: &mut Vec<u8>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let plain = rest.iter().take_while(|byte| is_plain(**byte)).count();
        text.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let Some(&first) = rest.first() else { return };
        match first {
            b'\\' => text.extend_from_slice(b"\\\\"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            0 => text.extend_from_slice(b"\\0"),
            0x80.. => {
                let (character, is_printable) = first_character(rest);
                match is_printable {
                    true => text.extend_from_slice(character),
                    false => character.iter().for_each(|byte| escape_byte(*byte, text)),
                }
                rest = &rest[character.len()..];
                continue;
            }
            byte => escape_byte(byte, text),
        }
        rest = &rest[1..];
    }
}

fn escape_byte(byte: u8, text: &mut Vec<u8>) {
    text.extend_from_slice(b"\\x");
    text.extend_from_slice(HEXLOWER.encode(&[byte]).as_bytes());
}

/// The bytes of the first character, or the first byte if it begins none; and whether it is
/// printable.
fn first_character(bytes: &[u8]) -> (&[u8], bool) {
    let first = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(first) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&first[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(c) => (&bytes[..c.len_utf8()], !is_unprintable(c)),
        None => (&bytes[..1], false),
    }
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        bytes.extend_from_slice(&rest[..at]);
        let (byte, len) = match &rest[at + 1..] {
            [b'\\', ..] => (b'\\', 2),
            [b'n', ..] => (b'\n', 2),
            [b'r', ..] => (b'\r', 2),
            [b't', ..] => (b'\t', 2),
            [b'0', ..] => (0, 2),
            [b'x', digits @ ..] => match digits.get(..2).map(|it| HEXLOWER_PERMISSIVE.decode(it)) {
                Some(Ok(byte)) => (byte[0], 4),
                _ => return Err(bad_escape(&rest[at..])),
            },
            _ => return Err(bad_escape(&rest[at..])),
        };
        bytes.push(byte);
        rest = &rest[at + len..];
    }
    bytes.extend_from_slice(rest);
    Ok(bytes)
}

fn bad_escape(rest: &[u8]) -> String {
    let escape: String = String::from_utf8_lossy(rest).chars().take(4).collect();
    let escape = escape.escape_debug().to_string().replace("\\\\", "\\");
    format!("{escape} is no escape; there are \\\\, \\n, \\r, \\t, \\0 and \\xNN")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut text = Vec::new();
        escape(bytes, &mut text);
        String::from_utf8(text).expect("escaped bytes are UTF-8")
    }

    #[test]
    fn printable_text_stands_for_itself() {
        for text in ["", "a b~", "\u{e4}\u{f6}\u{fc}", "\u{65e5}\u{672c}", "\u{1f600}"] {
            assert_eq!(escaped(text.as_bytes()), text);
        }
    }

    #[test]
    fn all_else_is_escaped() {
        assert_eq!(escaped(b"\\\n\r\t\0\x01\x7f\x1b[m"), r"\\\n\r\t\0\x01\x7f\x1b[m");
        assert_eq!(escaped("\u{85}\u{9b}".as_bytes()), r"\xc2\x85\xc2\x9b");
        assert_eq!(escaped("a\u{202e}b\u{2028}".as_bytes()), r"a\xe2\x80\xaeb\xe2\x80\xa8");
        assert_eq!(escaped(b"\xffa\xc3"), r"\xffa\xc3");
        assert_eq!(escaped(b"\xed\xa0\x80"), r"\xed\xa0\x80"); // a surrogate
        assert_eq!(escaped(b"\xc0\xaf"), r"\xc0\xaf"); // too long
    }

    #[test]
    fn every_encoding_is_reversible() {
        let all: Vec<u8> = (0..=255).collect();
        let pairs: Vec<u8> = (0..=0xffffu32).flat_map(|n| [(n >> 8) as u8, n as u8]).collect();
        let characters: String = ('\0'..='\u{ffff}').step_by(7).collect();
        for encoding in [Encoding::Escaped, Encoding::Hex, Encoding::Base64] {
            for bytes in [&all[..], &pairs, characters.as_bytes(), b""] {
                let mut text = Vec::new();
                encoding.encode(bytes, &mut text);
                assert_eq!(encoding.decode(&text).as_deref(), Ok(bytes), "{encoding:?}");
                assert!(text.iter().all(|byte| *byte >= b' ' && *byte != 0x7f));
            }
        }
        assert_eq!(Encoding::Hex.decode(b"fF"), Ok(vec![0xff]));
    }

    #[test]
    fn a_bad_escape_is_refused() {
        for text in ["\\", "a\\q", "\\x", "\\x1", "\\x1g", "\\N", "\\1", "\\x\u{e4}"] {
            assert!(unescape(text.as_bytes()).is_err(), "{text}");
        }
        for (encoding, text) in
            [(Encoding::Hex, "f"), (Encoding::Hex, "0x"), (Encoding::Base64, "QQ")]
        {
            assert!(encoding.decode(text.as_bytes()).is_err(), "{text}");
        }
    }
}
