//! Before anything changes: room on the disk, foreign changes, the firewalls' own parsers, and what was there before.
//!
//! What the kernel takes in one transaction need not be asked about first where it is the only one that is loaded: it is loaded
//! before anything is visible, and the loading is the answer. Whatever else changes is asked about before that.

use super::drift;
use super::firewall::{self, Firewall, FirewallError, Foreign, Update};
use super::force::Transition;
use super::manifest::TargetRecord;
use super::store::{Kept, MAX_BYTES};
use super::takeover::{self, TakenOver};
use super::{PublishError, Request, Step, StepFailure, Store, Took, instances};
use crate::config::{Conntrack, Name, OnDrift};
use crate::os::files;
use crate::render::Kernel;

/// Room that is wanted beside the files themselves: for the manifest, the journal and the file system's own needs.
const SPARE_BYTES: u64 = 1 << 20;

/// Refuses where another generation would not fit.
pub(super) fn room(store: &Store, request: &Request) -> Result<(), PublishError> {
    let artifacts = request.artifacts.iter().map(|artifact| artifact.bytes.len() as u64);
    let companions = request.companions.iter().map(|companion| companion.bytes.len() as u64);
    // The rule set lies beside the files, and is no larger.
    let needed = artifacts.sum::<u64>() * 2 + companions.sum::<u64>() + SPARE_BYTES;
    let stat = rustix::fs::statvfs(store.dir()).map_err(|error| PublishError::Io {
        what: "measure",
        path: store.dir().to_owned(),
        source: error.into(),
    })?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        return Err(PublishError::Full { path: store.dir().to_owned(), free, needed });
    }
    Ok(())
}

/// Asks about every target that changes; finds out for which an update is enough. Stops at the first failure that ends the
/// publication.
pub(super) fn all(store: &Store, transition: &mut Transition) -> Vec<StepFailure> {
    let mut failures = Vec::new();
    transition.first = loads_first(transition);
    let names: Vec<Name> = transition.changed.iter().cloned().collect();
    for name in names {
        let mut took = Took::default();
        let verified = took.time(Step::Verify, || one(store, transition, &name));
        if is_asked_about(transition, &name) {
            transition.took.insert(name.clone(), took);
        }
        match verified {
            Ok(Some(update)) => {
                transition.updates.insert(name, update);
            }
            Ok(None) => {}
            Err(failure) => {
                let ends = !transition.is_isolated(&name);
                failures.push(failure);
                if ends {
                    break;
                }
            }
        }
    }
    failures
}

/// The target that is verified by being loaded: the only one of the kernel's, which takes it in one transaction. One that may
/// fail alone is asked about first, so that it never was in the kernel when the others go on without it.
fn loads_first(transition: &Transition) -> Option<Name> {
    let mut loaded = transition.changing().filter(|(_, record)| record.kernel.is_some());
    let (name, record) = loaded.next()?;
    let whole = matches!(record.kernel, Some(Kernel::Nftables(_)));
    (whole && !record.isolated && loaded.next().is_none()).then(|| name.clone())
}

/// Whether a firewall or a command of the user's is asked about a target.
fn is_asked_about(transition: &Transition, name: &Name) -> bool {
    transition.manifest.targets.get(name).is_some_and(|record| {
        record.verify.is_some()
            || (record.kernel.is_some() && transition.first.as_ref() != Some(name))
    })
}

/// Asks the firewall's own parser about the whole of the target that is loaded first: after the kernel refused it, in order to
/// tell why; and where it is not known any more whether it was asked.
pub(super) fn first(store: &Store, transition: &Transition) -> Result<(), StepFailure> {
    let Some(name) = &transition.first else { return Ok(()) };
    let Some(record) = transition.manifest.targets.get(name) else { return Ok(()) };
    let Some(kernel) = &record.kernel else { return Ok(()) };
    let folder = store.path(transition.manifest.generation).join(name.as_str());
    Firewall::new(kernel, record.time_limit())
        .verify(&folder)
        .map_err(|error| StepFailure::new(name, Step::Verify, error))
}

fn one(
    store: &Store,
    transition: &mut Transition,
    name: &Name,
) -> Result<Option<Update>, StepFailure> {
    let Some(record) = transition.manifest.targets.get(name).cloned() else { return Ok(None) };
    let failed = |error: FirewallError| StepFailure::new(name, Step::Verify, error);
    // What is damaged can neither be compared with nor updated from.
    let old = transition.old.as_ref().filter(|_| !transition.damaged);
    let old = old.filter(|old| old.targets.contains_key(name));
    if let (Some(old), OnDrift::Hold) = (old, record.on_drift) {
        let found = drift::of_target(store, old, name).map_err(failed)?;
        let foreign: Vec<_> = found.into_iter().filter(|drift| !drift.is_loss()).collect();
        if !foreign.is_empty() {
            return Err(failed(FirewallError::Held(foreign)));
        }
    }
    if record.conntrack == Conntrack::Delete && !firewall::conntrack_is_installed() {
        return Err(failed(FirewallError::NoConntrack));
    }
    let folder = store.path(transition.manifest.generation).join(name.as_str());
    let mut update = None;
    if let Some(kernel) = &record.kernel {
        let foreign = foreign(store, transition, name, &record, kernel)?;
        if !foreign.is_empty() {
            if !transition.take_over.contains(name) {
                return Err(failed(FirewallError::NotOurs(foreign)));
            }
            transition.taking.insert(name.clone(), foreign);
        }
        let firewall = Firewall::new(kernel, record.time_limit());
        let loaded_first = transition.first.as_ref() == Some(name);
        update = old
            .filter(|old| same_objects(old.targets.get(name), kernel))
            .and_then(|old| {
                let before = store.path(old.generation).join(name.as_str());
                Update::between(kernel, &before, &folder)
            })
            // Refused where the kernel has lost what is to be updated: then the whole artifact is loaded.
            .filter(|update| loaded_first || firewall.verify_update(update).is_ok());
        if update.is_none() {
            if let Some(why) = firewall.not_understood(&folder).map_err(failed)? {
                transition.notes.push(format!(
                    "target {name}: the text of its template is loaded as it is, and packets may be \
                     lost meanwhile: {why}"
                ));
            }
            let verify = if loaded_first { Firewall::verify_alone } else { Firewall::verify };
            verify(&firewall, &folder).map_err(failed)?;
        }
    }
    if let Some(command) = &record.verify {
        firewall::run_user_command(command, &folder, record.time_limit()).map_err(failed)?;
    }
    Ok(update)
}

/// What others have where a target is to be loaded, and nobody has agreed to replace.
fn foreign(
    store: &Store,
    transition: &Transition,
    name: &Name,
    record: &TargetRecord,
    kernel: &Kernel,
) -> Result<Vec<Foreign>, StepFailure> {
    let failed = |error: FirewallError| StepFailure::new(name, Step::Verify, error);
    let folder = store.path(transition.manifest.generation).join(name.as_str());
    let wanted = firewall::objects(kernel, &folder);
    if let Some((object, dir)) = instances::other(store, &wanted, record.time_limit()) {
        return Err(failed(FirewallError::OtherInstance { object, dir }));
    }
    let had = transition.was(name).zip(transition.old.as_ref());
    let known = had.and_then(|(was, old)| {
        let folder = store.path(old.generation).join(name.as_str());
        was.kernel.as_ref().map(|kernel| firewall::objects(kernel, &folder))
    });
    let foreign = Firewall::new(kernel, record.time_limit()).foreign(
        &folder,
        &known.unwrap_or_default(),
        &|set| is_named_by_a_manifest(store, set),
    );
    let mut foreign = foreign.map_err(failed)?;
    if !foreign.is_empty() {
        let taken = TakenOver::read(store.dir());
        let taken = taken.map_err(|error| failed(FirewallError::State(Box::new(error))))?;
        foreign.retain(|foreign| !taken.has(name, &foreign.object));
    }
    Ok(foreign)
}

/// Whether a generation has an ipset of this name.
fn is_named_by_a_manifest(store: &Store, set: &str) -> bool {
    let numbers = store.numbers().unwrap_or_default();
    let named = |record: &TargetRecord| match &record.kernel {
        Some(Kernel::Iptables(rules)) => rules.sets.iter().any(|known| known.name == set),
        _ => false,
    };
    numbers.into_iter().any(|number| {
        store.read(number).is_ok_and(|generation| {
            // One that was never loaded proves nothing.
            generation.outcome.is_some() && generation.manifest.targets.values().any(named)
        })
    })
}

fn same_objects(was: Option<&TargetRecord>, kernel: &Kernel) -> bool {
    was.is_some_and(|was| was.kernel.as_ref() == Some(kernel))
}

/// Keeps what is about to be replaced: what the kernel had before tagwall first touched it, and installed files that a foreign
/// hand has changed.
pub(super) fn save(store: &Store, transition: &mut Transition) -> Result<(), PublishError> {
    let number = transition.manifest.generation;
    let mut notes = Vec::new();
    for (name, record) in transition.changing() {
        let was = transition.was(name);
        let known = was.and_then(|was| was.kernel.as_ref());
        let taking = transition.taking.contains_key(name);
        let unknown = |kernel: &&Kernel| taking || !is_known(kernel, known);
        if let Some(kernel) = record.kernel.as_ref().filter(unknown) {
            let folder = store.path(number).join(name.as_str());
            let saved = Firewall::new(kernel, record.time_limit()).save(&folder);
            let saved = saved.map_err(|error| {
                StepFailure::new(name, Step::Save, error)
                    .with_aftermath("nothing was changed".to_owned())
            })?;
            if let Some(text) = saved {
                store.keep(number, name, Kept::Before, &text)?;
                if let Some(foreign) = transition.taking.get(name) {
                    notes.push(take_over(store, name, foreign, &text)?);
                }
            }
        }
        for (file, path) in &record.install {
            let theirs = match files::read_bounded(path, MAX_BYTES) {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_found() => continue,
                Err(error) => {
                    return Err(StepFailure::new(name, Step::Install, error)
                        .with_aftermath("nothing was changed".to_owned()));
                }
            };
            let ours = was.zip(transition.old.as_ref()).and_then(|(was, old)| {
                was.install.get(file).filter(|had| *had == path)?;
                let ours = store.path(old.generation).join(name.as_str()).join(file);
                files::read_bounded(&ours, MAX_BYTES).ok()
            });
            if ours.as_ref() != Some(&theirs) {
                store.keep(number, name, Kept::Foreign(file), &theirs)?;
                notes.push(drift::overwritten(name, path, ours.as_deref(), &theirs));
            }
        }
    }
    transition.notes.append(&mut notes);
    Ok(())
}

/// Notes down that a target takes over what others had, and keeps a copy of it; returns what is said of it.
fn take_over(
    store: &Store,
    name: &Name,
    foreign: &[Foreign],
    text: &[u8],
) -> Result<String, PublishError> {
    takeover::keep_copy(store.dir(), name, text)?;
    let mut taken = TakenOver::read(store.dir())?;
    let objects: Vec<String> = foreign.iter().map(|foreign| foreign.object.clone()).collect();
    taken.targets.entry(name.clone()).or_default().extend(objects.iter().cloned());
    taken.write(store.dir())?;
    Ok(format!(
        "target {name}: replaced {}, which was not tagwall's; `tagwall restore --before-take-over {name}` brings it back",
        objects.join(", ")
    ))
}

/// Whether what a target has in the kernel lies where it lay before.
pub(super) fn is_known(kernel: &Kernel, before: Option<&Kernel>) -> bool {
    match (kernel, before) {
        (Kernel::Nftables(new), Some(Kernel::Nftables(old))) => {
            (&new.family, &new.table) == (&old.family, &old.table)
        }
        (Kernel::Iptables(new), Some(Kernel::Iptables(old))) => new.chain == old.chain,
        _ => false,
    }
}
