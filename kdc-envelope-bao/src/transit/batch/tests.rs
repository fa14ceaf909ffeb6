use std::sync::atomic::AtomicUsize;

use tokio::sync::Semaphore;

use super::*;

/// Fails, and with it every request of several.
const SPOILT: u32 = 1_000;

/// Answers each number with itself plus one, once the test lets it.
#[derive(Debug)]
struct Gated {
    sizes: Arc<Mutex<Vec<usize>>>,
    gate: Arc<Semaphore>,
}

impl BatchCall for Gated {
    type Item = u32;
    type Output = u32;

    async fn call(&self, items: Vec<&u32>) -> Result<Vec<Result<u32, ItemError>>, BaoError> {
        self.sizes.lock().unwrap().push(items.len());
        self.gate.acquire().await.unwrap().forget();
        if items.len() > 1 && items.contains(&&SPOILT) {
            return Err(BaoError::Rejected {
                status: 400,
                place: crate::error::Place {
                    path: "x".into(),
                    namespace: None,
                    address: "http://bao".into(),
                },
                message: "one spoils it".to_owned(),
            });
        }
        Ok(items
            .into_iter()
            .map(|item| match item {
                &SPOILT => Err(ItemError::Malformed),
                item => Ok(item + 1),
            })
            .collect())
    }
}

struct Bench {
    batcher: Arc<Batcher<Gated>>,
    sizes: Arc<Mutex<Vec<usize>>>,
    gate: Arc<Semaphore>,
}

fn bench(slots: usize) -> Bench {
    let spare = SpareSlot::default();
    assert!(slots == 2 || spare.take());
    bench_of(Arc::default(), Arc::new(Semaphore::new(0)), spare)
}

fn bench_of(sizes: Arc<Mutex<Vec<usize>>>, gate: Arc<Semaphore>, spare: SpareSlot) -> Bench {
    let call = Gated {
        sizes: Arc::clone(&sizes),
        gate: Arc::clone(&gate),
    };
    Bench {
        batcher: Arc::new(Batcher::new(call, spare)),
        sizes,
        gate,
    }
}

impl Bench {
    fn ask(&self, item: u32) -> tokio::task::JoinHandle<Result<u32, CallError>> {
        let batcher = Arc::clone(&self.batcher);
        tokio::spawn(async move { batcher.ask(item).await })
    }

    /// Asks for 0 and on, each once those before it are out or wait.
    async fn ask_in_turn(
        &self,
        count: u32,
    ) -> Vec<tokio::task::JoinHandle<Result<u32, CallError>>> {
        let mut asked = Vec::new();
        for item in 0..count {
            asked.push(self.ask(item));
            settle().await;
        }
        asked
    }

    /// Another batcher with the same spare slot.
    fn beside(&self) -> Self {
        let spare = self.batcher.0.spare.clone();
        bench_of(Arc::clone(&self.sizes), Arc::clone(&self.gate), spare)
    }

    fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().unwrap().clone()
    }
}

async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_lone_call_goes_out_at_once_and_those_behind_it_gather() {
    let bench = bench(1);
    let first = bench.ask(1);
    settle().await;
    assert_eq!(bench.sizes(), [1]);
    let others: Vec<_> = (2..=150).map(|item| bench.ask(item)).collect();
    settle().await;
    assert_eq!(bench.sizes(), [1]);
    bench.gate.add_permits(10);
    assert_eq!(first.await.unwrap().unwrap(), 2);
    for (item, other) in (2..).zip(others) {
        assert_eq!(other.await.unwrap().unwrap(), item + 1);
    }
    assert_eq!(bench.sizes(), [1, MAX_ITEMS, 49]);
    let again = bench.ask(7);
    assert_eq!(again.await.unwrap().unwrap(), 8);
}

#[tokio::test]
async fn no_more_requests_than_slots_are_out() {
    let bench = bench(2);
    bench.ask_in_turn(3).await;
    assert_eq!(bench.sizes(), [1, 1]);
}

#[tokio::test]
async fn two_batchers_have_three_slots_and_give_the_spare_one_back() {
    let one = bench(2);
    let other = one.beside();
    let mut asked = one.ask_in_turn(2).await;
    asked.extend(other.ask_in_turn(2).await);
    assert_eq!(one.sizes(), [1; 3]);
    one.gate.add_permits(4);
    for asked in asked {
        asked.await.unwrap().unwrap();
    }
    settle().await;
    let asked = other.ask_in_turn(2).await;
    assert_eq!(one.sizes(), [1; 6]);
    one.gate.add_permits(2);
    for asked in asked {
        asked.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn slots_that_are_free_share_what_came_together() {
    let bench = bench(2);
    for _ in 0..3 {
        let asked: Vec<_> = (0..32).map(|item| bench.ask(item)).collect();
        settle().await;
        bench.gate.add_permits(2);
        for (item, asked) in (0..).zip(asked) {
            assert_eq!(asked.await.unwrap().unwrap(), item + 1);
        }
    }
    assert_eq!(bench.sizes(), [16; 6]);
    let few: Vec<_> = (0..8).map(|item| bench.ask(item)).collect();
    settle().await;
    bench.gate.add_permits(1);
    for asked in few {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(bench.sizes()[6..], [MIN_SHARE]);
}

#[tokio::test]
async fn calls_that_were_given_up_are_not_sent() {
    let bench = bench(1);
    let first = bench.ask(1);
    settle().await;
    let given_up = bench.ask(2);
    let kept = bench.ask(3);
    settle().await;
    given_up.abort();
    settle().await;
    bench.gate.add_permits(2);
    first.await.unwrap().unwrap();
    assert_eq!(kept.await.unwrap().unwrap(), 4);
    assert_eq!(bench.sizes(), [1, 1]);
}

#[tokio::test]
async fn one_that_spoils_the_request_fails_alone() {
    let bench = bench(1);
    let first = bench.ask(1);
    settle().await;
    let (bad, good) = (bench.ask(SPOILT), bench.ask(14));
    settle().await;
    bench.gate.add_permits(10);
    first.await.unwrap().unwrap();
    assert_eq!(good.await.unwrap().unwrap(), 15);
    let error = bad.await.unwrap().unwrap_err();
    assert!(
        matches!(error, CallError::Item(ItemError::Malformed)),
        "{error:?}"
    );
    assert_eq!(bench.sizes(), [1, 2, 1, 1]);
}

#[derive(Debug)]
struct Failing(AtomicUsize);

impl BatchCall for Failing {
    type Item = ();
    type Output = ();

    async fn call(&self, items: Vec<&()>) -> Result<Vec<Result<(), ItemError>>, BaoError> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Err(BaoError::Sealed {
                address: "http://bao".into(),
            }),
            1 => Ok(Vec::new()),
            _ => Ok(items.iter().map(|()| Ok(())).collect()),
        }
    }
}

#[tokio::test]
async fn a_failed_request_or_a_wrong_number_of_answers_fails_its_calls_and_frees_the_slot() {
    let batcher = Batcher::new(Failing(AtomicUsize::new(0)), SpareSlot::default());
    for _ in 0..2 {
        let error = batcher.ask(()).await.unwrap_err();
        assert!(matches!(error, CallError::Request(_)), "{error:?}");
    }
    batcher.ask(()).await.unwrap();
}
