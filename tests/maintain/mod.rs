//! Archives stay healthy: nothing that is needed goes, nothing that is not stays, blocks may move.

mod gc;
mod history;
mod rebuild;
