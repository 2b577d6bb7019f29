//! What keeps archives healthy: what is checked, repaired and copied is right, and what is said of
//! it is so; nothing that is needed goes, nothing that is not stays, blocks may move.

mod check;
mod copy;
mod fragile;
mod gc;
mod history;
mod killed;
mod parity;
mod rebuild;
mod repair;
mod sample;
