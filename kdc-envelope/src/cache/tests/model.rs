//! Any sequence of reads, outages and pauses, held against a model that is too simple to be wrong.

use proptest::prelude::*;

use super::*;

const KEYS: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Fail(Option<KekErrorKind>),
    Read(usize),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1u64..8).prop_map(Step::Wait),
        2 => prop_oneof![
            Just(None),
            Just(Some(KekErrorKind::Unavailable)),
            Just(Some(KekErrorKind::Denied)),
        ]
        .prop_map(Step::Fail),
        6 => (0..KEYS).prop_map(Step::Read),
        1 => Just(Step::Expire),
    ]
}

/// Keys and when they were asked for, the least recently used first.
#[derive(Debug)]
struct Model {
    entries: usize,
    time_to_live: u64,
    grace: u64,
    now: u64,
    fails: Option<KekErrorKind>,
    kept: Vec<(usize, u64)>,
    stats: Stats,
}

impl Model {
    fn read(&mut self, key: usize) -> Result<usize, KekErrorKind> {
        let known = self.kept.iter().position(|(other, _)| *other == key);
        let asked = known.map(|at| self.kept.remove(at).1);
        let age = asked.map(|asked| self.now - asked);
        if let (Some(asked), Some(age)) = (asked, age)
            && age < self.time_to_live
        {
            self.kept.push((key, asked));
            self.stats.hits += 1;
            return Ok(key);
        }
        self.stats.misses += 1;
        match self.fails {
            None if self.time_to_live == 0 => Ok(key),
            None => {
                if self.kept.len() == self.entries {
                    self.kept.remove(0);
                    self.stats.evicted += 1;
                }
                self.kept.push((key, self.now));
                Ok(key)
            }
            Some(KekErrorKind::Unavailable) => {
                let asked = asked
                    .filter(|asked| self.now - asked < self.time_to_live + self.grace)
                    .ok_or(KekErrorKind::Unavailable)?;
                self.kept.push((key, asked));
                self.stats.stale += 1;
                Ok(key)
            }
            Some(kind) => Err(kind),
        }
    }

    fn expire(&mut self) {
        let (now, limit) = (self.now, self.time_to_live + self.grace);
        self.kept.retain(|(_, asked)| now - asked < limit);
    }
}

proptest! {
    #[test]
    fn the_cache_gives_what_the_model_gives_at_the_same_cost(
        entries in 1usize..=3,
        time_to_live in 0u64..6,
        grace in 0u64..8,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut model = Model {
            entries,
            time_to_live,
            grace,
            now: 0,
            fails: None,
            kept: Vec::new(),
            stats: Stats::default(),
        };
        let limits = limits(entries, time_to_live).with_grace(Duration::from_secs(grace));
        let setup = limited(limits);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let keys: Vec<WrappedKey> = runtime.block_on(async {
            let mut keys = Vec::new();
            for secret in 0..KEYS {
                keys.push(setup.wrapped(u8::try_from(secret).unwrap()).await);
            }
            keys
        });
        for step in steps {
            match step {
                Step::Wait(seconds) => {
                    model.now += seconds;
                    setup.at(model.now);
                }
                Step::Fail(kind) => {
                    model.fails = kind;
                    setup.fail(kind);
                }
                Step::Read(key) => {
                    let given = runtime.block_on(setup.read(&keys[key])).map(usize::from);
                    prop_assert_eq!(given, model.read(key));
                }
                Step::Expire => {
                    model.expire();
                    setup.cached.expire();
                }
            }
            model.stats.entries = model.kept.len();
            prop_assert_eq!(setup.cached.stats(), model.stats);
            prop_assert_eq!(u64::try_from(setup.calls()).unwrap(), model.stats.misses);
        }
    }
}
