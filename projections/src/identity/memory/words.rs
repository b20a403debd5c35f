//! Runs of atomic words in huge pages, where the system has some: a look-up comes to places that nobody looked at before, and
//! the way there through tables of small pages takes as long as what is read there.
//!
//! What is mapped stays mapped, since words are lent for as long as the process lives. A memory that ends gives its runs back
//! zeroed, and the next one takes them.

use std::alloc::{Layout, handle_alloc_error};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::{Advice, MmapMut};
use zerocopy::FromBytes;

/// Runs that nobody has, all of them zero.
static FREE: Mutex<Vec<&'static [AtomicU64]>> = Mutex::new(Vec::new());

/// A run of words that stays where it is.
pub(super) struct Words(&'static [AtomicU64]);

impl Words {
    /// So many words from the beginning of a page on, all of them zero. Those that are never written to take no memory.
    pub(super) fn zeroed(count: usize) -> Self {
        let mut free = free();
        let known = free.iter().position(|words| words.len() == count);
        Self(known.map_or_else(|| map(count), |place| free.swap_remove(place)))
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        self.0
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        for word in self.0 {
            word.store(0, Ordering::Relaxed);
        }
        free().push(self.0);
    }
}

fn free() -> MutexGuard<'static, Vec<&'static [AtomicU64]>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn map(count: usize) -> &'static [AtomicU64] {
    let bytes = count * size_of::<AtomicU64>();
    let Ok(map) = MmapMut::map_anon(bytes) else {
        handle_alloc_error(Layout::array::<AtomicU64>(count).unwrap_or(Layout::new::<AtomicU64>()))
    };
    // A wish: small pages do as well.
    let _ = map.advise(Advice::HugePage);
    let map = Box::leak(Box::new(map));
    let words = <[AtomicU64]>::mut_from_bytes(map);
    words.map(|words| &*words).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::Words;

    #[test]
    fn a_run_that_is_taken_again_is_zero() {
        let count = 4_099;
        for _ in 0..2 {
            let words = Words::zeroed(count);
            assert_eq!(words.len(), count);
            assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
            words[count - 1].store(7, Ordering::Relaxed);
        }
    }
}
