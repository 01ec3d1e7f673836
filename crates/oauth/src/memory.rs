//! Locks the memory of secrets.

/// Keeps the pages that hold a secret out of swap, where the limit on locked memory allows it. The
/// pages stay locked after the secret is dropped, because the next secret reuses them. Returns
/// whether they are locked.
pub fn keep_out_of_swap(secret: &[u8]) -> bool {
    region::lock(secret.as_ptr(), secret.len()).map(std::mem::forget).is_ok()
}
