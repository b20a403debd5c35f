//! Words in huge pages, where the system has them: a look-up goes to two places of hundreds of megabytes, and with pages of 4 KiB
//! the processor first has to find out where each of them lies.

use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;
use self_cell::{MutBorrow, self_cell};
use zerocopy::FromBytes;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;
/// Words of a huge page.
pub(super) const PAGE: usize = HUGE / size_of::<u64>();
/// Words that are mapped at once: what nothing is written to takes no memory.
const MAPPED: usize = 8 * PAGE;

type Slice<'a> = &'a [AtomicU64];

self_cell!(
    struct Mapping {
        owner: MutBorrow<MmapMut>,

        #[covariant]
        dependent: Slice,
    }
);

/// Words, at first zero.
pub(super) struct Words(Kept);

enum Kept {
    Mapped(Mapping),
    /// Where nothing could be mapped.
    Plain(Box<[AtomicU64]>),
}

impl Words {
    /// So many, which begin at a huge page.
    pub(super) fn new(count: usize) -> Self {
        let mapped = map(count).map(Kept::Mapped);
        let plain = || Kept::Plain((0..count).map(|_| AtomicU64::new(0)).collect());
        Self(mapped.unwrap_or_else(plain))
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        match &self.0 {
            Kept::Mapped(mapping) => mapping.borrow_dependent(),
            Kept::Plain(words) => words,
        }
    }
}

fn map(count: usize) -> Option<Mapping> {
    let bytes = count * size_of::<u64>();
    let mapped = MmapMut::map_anon(bytes + HUGE).ok()?;
    // Elsewhere, or where they are switched off, the pages are small.
    #[cfg(target_os = "linux")]
    let _ = mapped.advise(memmap2::Advice::HugePage);
    Mapping::try_new(MutBorrow::new(mapped), |mapped| {
        let mapped: &mut [u8] = mapped.borrow_mut();
        let start = mapped.as_ptr().align_offset(HUGE);
        let aligned = mapped.get_mut(start..start + bytes).ok_or(())?;
        let words = <[AtomicU64]>::mut_from_bytes(aligned).map_err(|_| ())?;
        Ok::<Slice<'_>, ()>(words)
    })
    .ok()
}

/// Hands out runs of words, which stay until all that hold one are gone.
#[derive(Default)]
pub(super) struct Pages(Mutex<Option<(Arc<Words>, usize)>>);

/// Some words.
pub(super) struct Run {
    words: Arc<Words>,
    start: usize,
    count: usize,
}

impl Pages {
    /// So many words. Where that is always a power of two of them, a run that fits a huge page lies in one.
    pub(super) fn run(&self, count: usize) -> Run {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = |next: usize| next.next_multiple_of(count.clamp(1, PAGE));
        if let Some((words, next)) = open.as_mut()
            && start(*next) + count <= words.len()
        {
            let start = start(*next);
            *next = start + count;
            let words = Arc::clone(words);
            return Run {
                words,
                start,
                count,
            };
        }
        let words = Arc::new(Words::new(count.max(MAPPED)));
        // One that is full at once leaves the rest of the open one in use.
        if count < MAPPED {
            *open = Some((Arc::clone(&words), count));
        }
        Run {
            words,
            start: 0,
            count,
        }
    }
}

impl Deref for Run {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        &self.words[self.start..self.start + self.count]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{HUGE, MAPPED, Pages, Words};

    #[test]
    fn words_are_mapped_zero_and_aligned() {
        let words = Words::new(MAPPED);
        assert_eq!(
            (words.len(), words.as_ptr().align_offset(HUGE)),
            (MAPPED, 0)
        );
        assert_eq!(words[MAPPED - 1].swap(7, Ordering::Relaxed), 0);
        assert_eq!(words[MAPPED - 1].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn runs_share_no_word() {
        let pages = Pages::default();
        let sizes = [8, 64, 8, MAPPED - 100, 1 << 10, 2 * MAPPED, 8];
        let runs: Vec<_> = (1..).zip(sizes.map(|size| pages.run(size))).collect();
        let fill = |word: &AtomicU64, number| assert_eq!(word.swap(number, Ordering::Relaxed), 0);
        for (number, run) in &runs {
            run.iter().for_each(|word| fill(word, *number));
        }
        for ((number, run), size) in runs.iter().zip(sizes) {
            assert_eq!(run.len(), size);
            assert!(
                run.iter()
                    .all(|word| word.load(Ordering::Relaxed) == *number)
            );
        }
    }
}
