//! The state of the modelled world, small enough to be kept a million times.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kdc_envelope::SecretBytes;
use kdc_envelope::kmsv2::ProviderName;
use kdc_envelope::providers::KeyName;
use kdc_envelope_k8s::encryption_config::{
    KmsProvider, Layout, LocalKey, LocalProvider, Transformer,
};
use kdc_envelope_k8s::{EncryptionConfiguration, GroupResource};

/// Index of a transformer.
pub(crate) type T = u8;
pub(crate) const IDENTITY: T = 0;
pub(crate) const A: T = 1;
pub(crate) const B: T = 2;
pub(crate) const C: T = 3;
pub(crate) const KMS: T = 4;

pub(crate) const MAX_SERVERS: usize = 3;
pub(crate) const MAX_ROWS: usize = 3;
pub(crate) const NONE: u8 = u8::MAX;
/// The layout of an API server without a configuration; also that of a file that is gone.
pub(crate) const NO_FILE: u8 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Server {
    /// The file on its node, as an index of a layout.
    pub file: u8,
    /// What it uses.
    pub loaded: u8,
    /// What it has read and will use; or `NONE`.
    pub pending: u8,
    /// Whether what it may load beside its file is ruled out for all to see.
    pub is_settled: bool,
    /// Whether it can be asked what it has loaded.
    pub is_up: bool,
    /// Keys in the node's history, as bits.
    pub history: u8,
    /// The KEK version that it reports, and the one that it writes under, which follows.
    pub kek_seen: u8,
    pub kek: u8,
    /// What the tool is about to write into its file; or `NONE`.
    pub to_write: u8,
    /// What stood in its file before the tool wrote it last, while an operator may put that back; or `NONE`.
    pub previous: u8,
    /// What an operator put there, of its file, of what it has read, and of what it uses.
    pub foreign_file: Foreign,
    pub foreign_pending: Foreign,
    pub foreign_loaded: Foreign,
}

/// What a file has from an operator, for which no promise of the tool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Foreign {
    /// All of it.
    pub content: bool,
    /// Who writes, which the tool leaves as it is until every server reads the next writer.
    pub writer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Row {
    /// Index of its rule.
    pub rule: u8,
    pub writer: T,
    pub kek: u8,
    /// Whether the running pass has been at it.
    pub is_touched: bool,
    /// Whether it was stored by a server whose writer an operator chose.
    pub is_foreign: bool,
}

/// Under which revision and KEK version a pass runs or ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PassState {
    pub revision: u8,
    pub kek: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Engine {
    pub pass: PassState,
    pub is_verify: bool,
    pub has_changed: bool,
    pub has_refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub servers: [Option<Server>; MAX_SERVERS],
    pub rows: [Option<Row>; MAX_ROWS],
    /// Transformers in the keyring, and those that may have written, as bits.
    pub kept: u8,
    pub used: u8,
    pub revision: u8,
    /// Writers of the revision by rule; or `NONE`.
    pub writers: [u8; 2],
    /// What was noted of the rows by rule, as bits, and with which revision.
    pub row_writers: [u8; 2],
    pub row_revision: u8,
    pub rewritten: Option<PassState>,
    pub verified: Option<PassState>,
    pub engine: Option<Engine>,
    /// Which of the scenario's changes is the current one.
    pub change: u8,
    /// How many outages may still come.
    pub outages: u8,
    /// How often an operator may still put an earlier file back, or take one away.
    pub meddling: u8,
    /// What a backup holds, by rule, as bits; and whether one may still be made.
    pub backup: [u8; 2],
    pub may_back_up: bool,
    /// The newest KEK version.
    pub kek: u8,
    /// Whether five minutes have gone by since a server reported another KEK version.
    pub is_kek_held: bool,
}

impl State {
    /// Servers and rows in order, since their numbers do not matter.
    pub(crate) fn sorted(mut self) -> Self {
        self.servers.sort_by(|left, right| right.cmp(left));
        self.rows.sort_by(|left, right| right.cmp(left));
        self
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().flatten()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().flatten()
    }

    pub(crate) fn server_count(&self) -> usize {
        self.servers().count()
    }

    pub(crate) fn server(&mut self, index: usize) -> &mut Server {
        self.servers[index].as_mut().unwrap()
    }

    pub(crate) fn row(&mut self, index: usize) -> &mut Row {
        self.rows[index].as_mut().unwrap()
    }
}

/// What the numbers mean. Layouts get theirs as they come up.
pub(crate) struct Names {
    pub transformers: [Transformer; 5],
    pub rules: [GroupResource; 2],
    layouts: RefCell<Layouts>,
}

#[derive(Default)]
struct Layouts {
    all: Vec<Arc<Layout>>,
    numbers: HashMap<Arc<Layout>, u8>,
    /// By layout and rule, the transformers in order.
    chains: Vec<[Vec<T>; 2]>,
}

impl Names {
    pub(crate) fn new() -> Self {
        let key = |provider, name: &str, byte| {
            let name = KeyName::new(name).unwrap();
            let key = LocalKey::new(provider, name, SecretBytes::new(vec![byte; 32]));
            Transformer::Local(key.unwrap())
        };
        let kms = KmsProvider::v2(
            &ProviderName::new("kms").unwrap(),
            "unix:///run/kms.sock",
            Duration::from_secs(3),
        );
        let names = Self {
            transformers: [
                Transformer::Identity,
                key(LocalProvider::Aescbc, "a", 1),
                key(LocalProvider::Aesgcm, "b", 2),
                key(LocalProvider::Aesgcm, "c", 3),
                Transformer::Kms(Arc::new(kms)),
            ],
            rules: ["secrets", "configmaps"].map(GroupResource::from_text),
            layouts: RefCell::default(),
        };
        // The first one is `NO_FILE`.
        names.number(&Arc::new(Layout::default()));
        names
    }

    pub(crate) fn transformer(&self, transformer: &Transformer) -> T {
        let known = |known: &Transformer| known.is_same(transformer);
        u8::try_from(self.transformers.iter().position(known).unwrap()).unwrap()
    }

    pub(crate) fn layout(&self, number: u8) -> Arc<Layout> {
        Arc::clone(&self.layouts.borrow().all[usize::from(number)])
    }

    /// All that ever stood in a file.
    pub(crate) fn layouts(&self) -> impl Iterator<Item = (u8, Arc<Layout>)> {
        (0..).zip(self.layouts.borrow().all.clone())
    }

    pub(crate) fn number(&self, layout: &Arc<Layout>) -> u8 {
        if let Some(number) = self.layouts.borrow().numbers.get(layout) {
            return *number;
        }
        if !layout.is_plain() {
            let text = layout
                .render()
                .expect("a plan writes only what can be written");
            let read = EncryptionConfiguration::parse(text.as_bytes()).unwrap();
            assert_eq!(Layout::of(&read), **layout);
        }
        let chain = |rule: &GroupResource| -> Vec<T> {
            let chain = layout.chain_of(rule);
            chain
                .iter()
                .map(|transformer| self.transformer(transformer))
                .collect()
        };
        let chains = [chain(&self.rules[0]), chain(&self.rules[1])];
        let mut layouts = self.layouts.borrow_mut();
        let number = u8::try_from(layouts.all.len()).unwrap();
        layouts.all.push(Arc::clone(layout));
        layouts.numbers.insert(Arc::clone(layout), number);
        layouts.chains.push(chains);
        number
    }

    pub(crate) fn writer(&self, layout: u8, rule: u8) -> T {
        self.layouts.borrow().chains[usize::from(layout)][usize::from(rule)][0]
    }

    pub(crate) fn reads(&self, layout: u8, rule: u8, writer: T) -> bool {
        self.layouts.borrow().chains[usize::from(layout)][usize::from(rule)].contains(&writer)
    }

    /// The keys of a layout as bits, without identity.
    pub(crate) fn keys(&self, layout: u8) -> u8 {
        let layouts = self.layouts.borrow();
        let all = layouts.chains[usize::from(layout)].iter().flatten();
        all.filter(|writer| **writer != IDENTITY)
            .fold(0, |bits, writer| bits | bit(*writer))
    }
}

pub(crate) const fn bit(transformer: T) -> u8 {
    1 << transformer
}
