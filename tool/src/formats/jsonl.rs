//! JSON lines: an entry is an object on a line of its own, `{"k":"key","v":"value"}`. A key or
//! value that is not UTF-8 is `"k64"` or `"v64"`, in base64.

use data_encoding::BASE64;

/// Appends the JSON object of an entry, or of a part of one, to `text`.
pub fn object(key: Option<&[u8]>, value: Option<&[u8]>, text: &mut Vec<u8>) {
    let mut separator = b'{';
    for (name, bytes) in [("k", key), ("v", value)] {
        let Some(bytes) = bytes else { continue };
        text.push(separator);
        separator = b',';
        match std::str::from_utf8(bytes) {
            Ok(string) => {
                text.extend_from_slice(format_args!("\"{name}\":").to_string().as_bytes());
                serde_json::to_writer(&mut *text, string).expect("memory takes all of it");
            }
            Err(_) => {
                let base64 = BASE64.encode(bytes);
                text.extend_from_slice(format!("\"{name}64\":\"{base64}\"").as_bytes());
            }
        }
    }
    text.push(b'}');
}
