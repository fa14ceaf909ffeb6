//! Brings what is observed into the form in which the planner compares it.

use std::collections::HashMap;

use super::{ApiServer, Blocker, ConfigHash, NodeFile, Observed, Timestamp};
use crate::encryption_config::{Chain, GroupResource, Layout, Transformer};

/// The observed servers, each with a file that can be read.
pub(super) struct ServerViews<'o> {
    pub(super) servers: Vec<ServerView<'o>>,
    /// Every different file, in the order of the servers.
    pub(super) files: Vec<&'o Layout>,
}

/// What is known of one server.
pub(super) struct ServerView<'o> {
    pub(super) server: &'o ApiServer,
    pub(super) file: &'o NodeFile,
    /// What its file means. If that was removed from under the process, what the process goes on using.
    pub(super) layout: &'o Layout,
    /// Whether the file was removed from under the process.
    pub(super) is_missing: bool,
    pub(super) loaded: Loaded<'o>,
    /// When nothing but its file and what it uses can come into use; `None` if that is so now.
    pub(super) unsettled_until: Option<Timestamp>,
}

/// What a server uses.
#[derive(Clone, Copy)]
pub(super) enum Loaded<'o> {
    /// Its file.
    File(&'o Layout),
    /// Something else that is known.
    Other(&'o Layout),
    /// Something else.
    Unknown,
    /// It does not say.
    Unaskable(&'o str),
}

impl<'o> ServerViews<'o> {
    /// The blockers are those of files, which nothing may go past.
    pub(super) fn of(observed: &'o Observed, now: Timestamp) -> Result<Self, Vec<Blocker>> {
        let mut layouts: HashMap<ConfigHash, &Layout> = HashMap::new();
        layouts.insert(ConfigHash::NO_FILE, plain());
        let earlier = observed
            .earlier
            .iter()
            .map(|(hash, layout)| (*hash, &**layout));
        layouts.extend(earlier);
        let mut files: Vec<&NodeFile> = Vec::new();
        let mut blockers = Vec::new();
        for server in &observed.servers {
            match &server.file {
                Ok(file) => {
                    layouts.insert(file.hash, &file.layout);
                    files.push(file);
                }
                Err(why) => blockers.push(Blocker::File {
                    server: server.name.clone(),
                    why: why.clone(),
                }),
            }
        }
        if observed.servers.is_empty() {
            blockers.push(Blocker::NoServers);
        }
        if !blockers.is_empty() {
            return Err(blockers);
        }
        let views = observed.servers.iter().zip(&files);
        let servers: Vec<_> = views
            .map(|(server, file)| view(server, file, &layouts, now))
            .collect();
        let files = different(&servers);
        Ok(Self { servers, files })
    }

    /// The chains of `resource` in the different files.
    pub(super) fn chains(&self, resource: &GroupResource) -> Vec<Chain> {
        self.files
            .iter()
            .map(|file| file.chain_of(resource))
            .collect()
    }
}

fn plain() -> &'static Layout {
    static PLAIN: std::sync::LazyLock<Layout> = std::sync::LazyLock::new(Layout::default);
    &PLAIN
}

fn different<'o>(views: &[ServerView<'o>]) -> Vec<&'o Layout> {
    let mut hashes: Vec<ConfigHash> = Vec::new();
    let mut layouts: Vec<&Layout> = Vec::new();
    for view in views {
        // All missing files have one hash, and may still stand for different ones.
        if view.is_missing || !hashes.contains(&view.file.hash) {
            hashes.push(view.file.hash);
            if !layouts.contains(&view.layout) {
                layouts.push(view.layout);
            }
        }
    }
    layouts
}

fn view<'o>(
    server: &'o ApiServer,
    file: &'o NodeFile,
    layouts: &HashMap<ConfigHash, &'o Layout>,
    now: Timestamp,
) -> ServerView<'o> {
    let loaded = match &server.loaded {
        Err(why) => Loaded::Unaskable(why),
        Ok(loaded) if loaded.hash == file.hash => Loaded::File(&file.layout),
        Ok(loaded) => match layouts.get(&loaded.hash) {
            Some(layout) => Loaded::Other(layout),
            None => Loaded::Unknown,
        },
    };
    let is_loaded_since = server.loaded.as_ref().is_ok_and(|loaded| {
        let times = file.written.zip(loaded.since);
        let is_later = times.is_some_and(|(written, since)| since > written);
        loaded.hash == file.hash && (file.is_first || is_later)
    });
    let until = file.settled_at;
    // A process whose file is gone goes on as it is; one that was started without the flag says that it has none.
    let is_missing =
        file.hash == ConfigHash::NO_FILE && matches!(loaded, Loaded::Other(_) | Loaded::Unknown);
    let layout = match loaded {
        Loaded::Other(layout) if is_missing => layout,
        _ => &file.layout,
    };
    ServerView {
        server,
        file,
        layout,
        is_missing,
        loaded,
        unsettled_until: (!is_loaded_since && until > now).then_some(until),
    }
}

impl ServerView<'_> {
    /// Why it is not known what this server writes with, now and in a moment.
    pub(super) fn uncertain(&self) -> Option<Blocker> {
        let server = self.server.name.clone();
        match (self.loaded, self.unsettled_until) {
            (Loaded::Unaskable(why), _) => Some(Blocker::Unaskable {
                server,
                why: why.into(),
            }),
            (Loaded::Unknown, _) => Some(Blocker::UnknownConfig { server }),
            (_, Some(until)) => Some(Blocker::Unsettled { server, until }),
            _ => None,
        }
    }

    /// Why it is not certain that this server uses its file and nothing else.
    pub(super) fn unproven(&self) -> Option<Blocker> {
        let other = Blocker::NotLoaded {
            server: self.server.name.clone(),
        };
        match self.loaded {
            Loaded::Other(_) => Some(other),
            _ => self.uncertain(),
        }
    }

    /// The writers of `resource` that are known of its file and of what it uses.
    pub(super) fn writers(&self, resource: &GroupResource) -> [Transformer; 2] {
        self.possible(resource).map(|chain| chain.writer().clone())
    }

    /// Whether it uses something else than its file, and it is known what.
    pub(super) const fn is_using_known(&self) -> bool {
        matches!(self.loaded, Loaded::Other(_))
    }

    /// Whether it is unknown what it uses.
    pub(super) const fn is_unknown(&self) -> bool {
        matches!(self.loaded, Loaded::Unknown)
    }

    /// All chains of `resource` that it may use, now and in a moment.
    pub(super) fn possible(&self, resource: &GroupResource) -> [Chain; 2] {
        let file = self.layout.chain_of(resource);
        let loaded = match self.loaded {
            Loaded::File(layout) | Loaded::Other(layout) => layout.chain_of(resource),
            Loaded::Unknown | Loaded::Unaskable(_) => file.clone(),
        };
        [file, loaded]
    }
}
