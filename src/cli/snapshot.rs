//! `packfs snapshot`: names for roots.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::complain;
use super::flush::{ask_or, request};
use super::output::print;
use super::{Failure, Outcome, archive, time};
use crate::format::hex;
use crate::live::Request;
use crate::monitor::show;
use crate::store::snapshots::{self, Listed};
use crate::store::{OpenOptions, Store, lost_root};

/// List, make, rename and delete snapshots: names for roots
#[derive(Debug, Args)]
#[command(subcommand_required = true)]
pub(super) struct SnapshotArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the snapshots of an archive
    List {
        /// Archive: a store's folder, or an image
        archive: PathBuf,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Give the newest root of a store a name
    Create {
        /// The store
        store: PathBuf,
        /// The name
        #[arg(value_parser = archive::snapshot_name)]
        name: String,
    },
    /// Delete a snapshot; other snapshots, and what the store shows, stay as they are
    Delete {
        /// The store
        store: PathBuf,
        /// The snapshot
        #[arg(value_parser = archive::snapshot_name)]
        name: String,
    },
    /// Give a snapshot another name
    Rename {
        /// The store
        store: PathBuf,
        /// The snapshot
        #[arg(value_parser = archive::snapshot_name)]
        name: String,
        /// Its new name
        #[arg(value_parser = archive::snapshot_name)]
        new: String,
    },
}

pub(super) fn run(args: &SnapshotArgs) -> Outcome {
    match &args.verb {
        Verb::List { archive, json } => list(archive, *json),
        Verb::Create { store, name } => create(store, name),
        Verb::Delete { store, name } => {
            let storage = archive::writable(store)?;
            ask_or(store, &Request::Delete(name.clone()), || {
                let _lock = archive::lock(store)?;
                snapshots::delete(&*storage, name)?;
                Ok(ExitCode::SUCCESS)
            })
        }
        Verb::Rename { store, name, new } => {
            let storage = archive::writable(store)?;
            ask_or(store, &Request::Rename(name.clone(), new.clone()), || {
                let _lock = archive::lock(store)?;
                snapshots::rename(&*storage, name, new)?;
                Ok(ExitCode::SUCCESS)
            })
        }
    }
}

fn list(archive: &Path, as_json: bool) -> Outcome {
    let listed = snapshots::list(&*archive::storage(archive)?)?;
    let outcome = print(|output| {
        for Listed { name, snapshot } in &listed {
            match snapshot {
                Ok(snapshot) if as_json => {
                    let (root, id) = (snapshot.number, hex(&snapshot.root));
                    let created = time::show_second(snapshot.created);
                    let json = json!({"name": name, "root": root, "id": id, "created": created});
                    writeln!(output, "{json}")?;
                }
                Ok(snapshot) => {
                    let (number, name) = (snapshot.number, show(name.as_bytes()));
                    let created = time::show_second(snapshot.created);
                    writeln!(output, "{created}  root {number:<4}  {name}")?;
                }
                Err(error) if as_json => {
                    writeln!(output, "{}", json!({"name": name, "error": error.to_string()}))?;
                }
                Err(_) => {}
            }
        }
        Ok(())
    })?;
    let damaged: Vec<_> = listed.iter().filter_map(|each| each.snapshot.as_ref().err()).collect();
    damaged.iter().for_each(|error| complain(&error.to_string()));
    if damaged.is_empty() { Ok(outcome) } else { Ok(ExitCode::FAILURE) }
}

fn create(store: &Path, name: &str) -> Outcome {
    archive::writable(store)?;
    // Of a store that is mounted with --rw, with all that was written so far.
    if let Some(number) = request(store, &Request::Create(name.to_owned()))? {
        let name = show(name.as_bytes());
        return print(|output| Ok(writeln!(output, "{name}: root {number}")?));
    }
    let _lock = archive::lock(store)?;
    // Anew: what is there may have changed until it was locked.
    let store = Store::open(archive::storage(store)?, OpenOptions::default())?;
    if let Some(doubt) = store.doubt() {
        return Err(Failure::Failed(format!("{doubt}; no snapshot is made of an older root")));
    }
    let (key, root) = store.root();
    if let Some(lost) = lost_root(store.storage(), root.number)? {
        let text = format!("{lost}; no snapshot is made; run packfs fsck --repair first");
        return Err(Failure::Failed(text));
    }
    snapshots::create(store.storage(), name, key, time::now())?;
    let name = show(name.as_bytes());
    print(|output| Ok(writeln!(output, "{name}: root {}", root.number)?))
}
