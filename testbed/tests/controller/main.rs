//! The frame of controllers on a real kube-apiserver: one writer at a time, nothing written without need, and what happens when
//! something fails.

mod calls;
mod definitions;
mod events;
mod fixture;
mod leader;
mod run;
mod status;
