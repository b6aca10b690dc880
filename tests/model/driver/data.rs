//! Keys and values of every awkward shape, out of a bounded space.

use super::choices::Choices;

/// Key number `n` of the space. Neighbouring numbers have different shapes; up
/// to 5,000 bytes, or, if they may be `huge`, 70,000 for some.
pub fn key(n: usize, huge: bool) -> Vec<u8> {
    let (shape, n) = (n % 16, n / 16);
    let number = (n as u64).to_be_bytes();
    let digits = n.to_string().into_bytes();
    match shape {
        0 => vec![b'a'; n % 40], // each begins the next; the first is empty
        1 => vec![0xff; n % 20],
        2 => vec![0; n % 20],
        3 => number.to_vec(),
        4 => number[8 - (n % 3 + 4)..].iter().copied().chain([0, n as u8, n as u8]).collect(),
        5 => format!("https://example.com/some/long/path/{n:06}").into_bytes(),
        6 => format!("https://example.com/some/long/path/{n:06}/and?more={}", n % 7).into_bytes(),
        7 => [&[7; 508], &n.to_le_bytes()[..1 + n % 8]].concat(),
        8 => [&vec![8; 500 + n % 30], &number[6..]].concat(),
        9 => [&vec![9; 600 + n * 97 % 4_400], &digits[..]].concat(),
        10 => [&digits[..], &vec![0xff; n % 5]].concat(),
        11 if huge && n.is_multiple_of(64) => [&[11; 70_000], &number[..]].concat(),
        _ => format!("user-{shape}-{n}").into_bytes(),
    }
}

/// A value: mostly short, now and then around or over what a leaf keeps itself.
pub fn value(choices: &mut impl Choices, huge: bool) -> Vec<u8> {
    let len = match choices.below(32) {
        0 => 0,
        1 => 1_020 + choices.below(11),
        2 if choices.once_in(4) => 5_000,
        3 if huge && choices.once_in(64) => 100_000,
        _ => choices.below(201),
    };
    let first = choices.byte();
    (0..len).map(|i| first.wrapping_add(i as u8)).collect()
}

/// Packs an entry as minidb_cursor_read does.
pub fn pack(packed: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for len in [key.len(), value.len()] {
        packed.extend((len as u32).to_ne_bytes());
    }
    packed.extend(key);
    packed.extend(value);
}

/// Bytes that an entry takes when packed.
pub fn packed_len(key: &[u8], value: &[u8]) -> usize {
    8 + key.len() + value.len()
}

/// The entries of a packed buffer, if it is whole.
pub fn unpack(mut packed: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut entries = Vec::new();
    while !packed.is_empty() {
        let (lens, rest) = packed.split_at_checked(8)?;
        let [key_len, value_len] = [0, 4].map(|at| {
            u32::from_ne_bytes([lens[at], lens[at + 1], lens[at + 2], lens[at + 3]]) as usize
        });
        let (key, rest) = rest.split_at_checked(key_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        entries.push((key, value));
        packed = rest;
    }
    Some(entries)
}

/// Bytes for a message: their number, and how they begin.
pub fn brief(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(24)];
    format!("{}:\"{}\"", bytes.len(), shown.escape_ascii())
}
