//! Changes of bytes as made by disks, crashes and enemies.

use fastrand::Rng;

/// Numbers that readers fail on most often.
const ODD: [u64; 10] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_fffe,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Changes bytes at one to eight places.
pub fn mutate(random: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..random.usize(1..=8) {
        if bytes.is_empty() {
            bytes.push(random.u8(..));
        }
        let at = random.usize(..bytes.len());
        match random.u8(..8) {
            0 | 1 => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes[at] = random.u8(..),
            3 => overwrite(bytes, at, &random.choice(ODD).unwrap_or(0).to_le_bytes()[..4]),
            4 => overwrite(bytes, at, &random.choice(ODD).unwrap_or(0).to_le_bytes()),
            5 => bytes.truncate(at),
            6 => {
                let piece = piece(random, bytes).to_vec();
                overwrite(bytes, at, &piece);
            }
            _ => {
                let piece = piece(random, bytes).to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Changes text by putting pieces of the format in wrong places.
pub fn mutate_text(random: &mut Rng, text: &mut Vec<u8>, pieces: &[&str]) {
    for _ in 0..random.usize(1..=8) {
        let at = random.usize(..=text.len());
        let piece = random.choice(pieces).copied().unwrap_or_default();
        text.splice(at..at, piece.bytes());
    }
    if random.bool() {
        mutate(random, text);
    }
}

fn piece<'a>(random: &mut Rng, bytes: &'a [u8]) -> &'a [u8] {
    let from = random.usize(..bytes.len());
    let length = random.usize(..=64.min(bytes.len() - from));
    &bytes[from..from + length]
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    let length = with.len().min(bytes.len() - at);
    bytes[at..at + length].copy_from_slice(&with[..length]);
}
