//! Identifiers of 16 bytes: half of a SHA-256 hash, as hexadecimal digits.

use sha2::{Digest, Sha256};

/// The first half of the hash.
pub(crate) fn truncated(hash: Sha256) -> [u8; 16] {
    let full: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|n| full[n])
}

/// The bytes as 32 hexadecimal digits.
pub(crate) fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}
