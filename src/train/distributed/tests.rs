use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use super::*;

/// Ranks that are threads: each writes what it has, and all read it.
struct Threads {
    rank: usize,
    shared: Arc<Shared>,
}

struct Shared {
    barrier: Barrier,
    written: Mutex<Vec<Vec<f64>>>,
}

impl Threads {
    fn exchange(&self, mine: Vec<f64>) -> Vec<Vec<f64>> {
        self.shared.written.lock().unwrap()[self.rank] = mine;
        self.shared.barrier.wait();
        let all = self.shared.written.lock().unwrap().clone();
        self.shared.barrier.wait();
        all
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.shared.written.lock().unwrap().len()
    }

    fn here(&self) -> usize {
        self.count()
    }

    fn sum(&self, mine: &[f32], sums: &mut [f32]) {
        let all = self.exchange(mine.iter().map(|&number| number.into()).collect());
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum = all.iter().map(|numbers| numbers[at]).sum::<f64>() as f32;
        }
    }

    fn total(&self, mine: f64) -> f64 {
        self.exchange(vec![mine]).iter().map(|numbers| numbers[0]).sum()
    }

    fn least(&self, mine: u64) -> u64 {
        let all = self.exchange(vec![f64::from_bits(mine)]);
        all.iter().map(|numbers| numbers[0].to_bits()).min().unwrap()
    }

    fn of_first(&self, bytes: &mut [u8]) {
        let all = self.exchange(bytes.iter().map(|&byte| byte.into()).collect());
        bytes.iter_mut().zip(&all[0]).for_each(|(to, &byte)| *to = byte as u8);
    }

    fn abort(&self) -> ! {
        panic!("aborted by rank {}", self.rank)
    }
}

/// What `run` returns on each of so many ranks.
pub(in crate::train) fn on_ranks<T: Send>(count: usize, run: impl Fn(&Ranks) -> T + Sync) -> Vec<T> {
    let shared = Arc::new(Shared { barrier: Barrier::new(count), written: Mutex::new(vec![Vec::new(); count]) });
    thread::scope(|scope| {
        let start = |rank| {
            let (shared, run) = (shared.clone(), &run);
            scope.spawn(move || run(&Ranks::of(Threads { rank, shared })))
        };
        let ranks: Vec<_> = (0..count).map(start).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn each_row_is_one_ranks() {
    let rows: Vec<usize> = (100..300).collect();
    let shares = on_ranks(3, |ranks| ranks.share(&rows).to_vec());
    assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), [67, 67, 66]);
    assert_eq!(shares.concat(), rows);
    // A rank may have none.
    assert_eq!(on_ranks(3, |ranks| ranks.share(&rows[..2]).to_vec()), [vec![100], vec![101], vec![]]);
}

#[test]
fn all_have_the_same_values() {
    let found = on_ranks(3, |ranks| {
        let mine = ranks.rank() as f64;
        let (mut numbers, mut spare) = (vec![mine as f32, 1.0], vec![]);
        ranks.sum(&mut numbers, &mut spare);
        let file = ranks.bytes_of_first(ranks.is_first().then(|| vec![1, 2]));
        let none = ranks.bytes_of_first(Some(vec![3]).filter(|_| !ranks.is_first()));
        let any = (ranks.any(mine == 2.0), ranks.any(false));
        let same = (ranks.have_same(7), ranks.have_same(mine as u64));
        (numbers, ranks.total(mine), ranks.of_first(mine + 5.0), file, none, any, same)
    });
    let expected = (vec![3.0, 3.0], 3.0, 5.0, Some(vec![1, 2]), None, (true, false), (true, false));
    assert_eq!(found, vec![expected; 3]);
}

#[derive(Clone, Debug, PartialEq)]
enum Error {
    Own(usize),
    Other(usize),
}

impl From<OtherRank> for Error {
    fn from(OtherRank(rank): OtherRank) -> Error {
        Error::Other(rank)
    }
}

#[test]
fn one_rank_reports_what_all_know() {
    let agreed = on_ranks(3, |ranks| {
        let mine = if ranks.is_first() { Ok(()) } else { Err(Error::Own(ranks.rank())) };
        let (agreed, reported) = (ranks.agree(mine), Cell::new(false));
        ranks.fail(|| reported.set(true));
        (agreed, reported.get())
    });
    let other = || Err(Error::Other(1));
    assert_eq!(agreed, [(other(), false), (Err(Error::Own(1)), true), (other(), false)]);
    assert_eq!(on_ranks(2, |ranks| ranks.agree(Ok::<_, Error>(ranks.rank()))), [Ok(0), Ok(1)]);
}

#[test]
fn a_rank_that_fails_alone_ends_all() {
    let ended = on_ranks(2, |ranks| {
        let reported = Cell::new(false);
        let fail = std::panic::AssertUnwindSafe(|| ranks.fail(|| reported.set(true)));
        let aborted = ranks.is_first() && std::panic::catch_unwind(fail).is_err();
        (aborted, reported.get())
    });
    assert_eq!(ended, [(true, true), (false, false)]);
}

#[test]
fn alone_there_is_nothing_to_agree_on() {
    let ranks = Ranks::alone();
    assert_eq!(ranks.share(&[3, 4]), [3, 4]);
    assert_eq!((ranks.count(), ranks.is_first(), ranks.total(2.5), ranks.of_first(1.5)), (1, true, 2.5, 1.5));
    assert_eq!(ranks.agree(Err::<(), _>(Error::Own(0))), Err(Error::Own(0)));
    assert_eq!(ranks.bytes_of_first(Some(vec![1])), Some(vec![1]));
    assert!(ranks.have_same(1) && ranks.any(true) && !ranks.any(false));
}
