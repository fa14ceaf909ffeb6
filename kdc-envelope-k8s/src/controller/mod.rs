//! The frame of a controller: it watches objects, brings each nearer to what is wanted, and does so in one process at a time.
//!
//! | module | what it is |
//! |---|---|
//! | [`objects`] | calls to the API server, each with a deadline; writes only while this process holds the Lease |
//! | [`leader`] | the Lease, which its holder gives up by its own clock before another may take it |
//! | [`run`] | the loop: a queue, retries by the kind of error, and no run before the last one's writes are seen |
//! | [`store`] | the objects of a kind, kept up to date by a watch |
//! | [`status`] | status and finalizers, written only when they change |
//! | [`events`] | Events, of which the same is not written over and over |
//! | [`metrics`] | what a controller counts |
//!
//! It is a frame of its own, and not kube's runtime, for three rules that keys depend on: a run is cut off before another process may lead, no
//! run begins before the last one's writes are seen, and an API server that lags behind what was seen before is not believed.
//!
//! A controller implements [`Reconciler`] and gives it to a [`Controller`]:
//!
//! ```no_run
//! use core::time::Duration;
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use kdc_envelope_k8s::controller::{
//!     Controller, ControllerSettings, Elector, LeaderSettings, Next, ObjectKey, Objects, ReconcileError, Reconciler, Store,
//! };
//! use kdc_envelope_k8s::crd::KmsKey;
//! use tokio_util::sync::CancellationToken;
//!
//! struct Keys(Arc<Store<KmsKey>>);
//!
//! #[async_trait]
//! impl Reconciler for Keys {
//!     async fn reconcile(&self, key: &ObjectKey, objects: &Objects) -> Result<Next, ReconcileError> {
//!         let Some(found) = self.0.get(key) else {
//!             return Ok(Next::OnChange);
//!         };
//!         // Observe, plan, apply.
//!         Ok(Next::After(Duration::from_mins(5)))
//!     }
//! }
//!
//! # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let (elector, leadership) = Elector::new(client.clone(), LeaderSettings::new("kube-dc", "kdc-manager", "pod-1"));
//! let objects = Objects::new(client, "kdc-manager").with_leadership(leadership);
//! let mut controller = Controller::new(ControllerSettings::new("kdc_manager"), objects);
//! let keys = controller.watch::<KmsKey>(None, |key| vec![ObjectKey::of(key)]);
//! let stop = CancellationToken::new();
//! elector.run_while(controller.run(Keys(keys), stop)).await;
//! # Ok(())
//! # }
//! ```

mod backoff;
mod clock;
pub mod error;
pub mod events;
mod key;
pub mod leader;
pub mod metrics;
pub mod objects;
mod queue;
pub mod run;
pub mod status;
pub mod store;

pub use error::{CallError, ErrorKind, ReconcileError};
pub use events::{EventKind, Recorder};
pub use key::ObjectKey;
pub use leader::{Elector, LeaderSettings, Leadership};
pub use metrics::ControllerMetrics;
pub use objects::{Object, Objects};
pub use run::{Controller, ControllerSettings, Health, Next, Reconciler, Trigger};
pub use store::Store;
