//! Journals of real runs: each file in `journals/`, as `firestarter debug journal` wrote it, is replayed and leads to the
//! transcript beside it. `UPDATE=1 cargo test -p firestarter-core --test recordings` writes the transcripts anew. Those of
//! an older format are passed over, since nobody reads them any more; when the format is raised, one is to be recorded
//! anew: `RECORD=1 cargo test -p firestarter --test journal a_journal_is_taken`, and then with `UPDATE=1` here.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::path::Path;

use firestarter_core::journal::{read_snapshot, write_snapshot, Reader, Recording, FORMAT};
use firestarter_core::text::{state_lines, Names};
use firestarter_core::time::Instant;
use firestarter_core::Supervisor;

const ADVICE: &str =
    "if events or states have another form now, raise FORMAT and record anew: see the top of this file";

#[test]
fn every_journal_leads_where_it_led() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals");
    let mut told = 0;
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "journal") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let (head, rest) = Recording::read(&bytes).unwrap();
        if head.format != FORMAT {
            println!("{}: format {}, passed over", path.display(), head.format);
            continue;
        }
        told += 1;
        let found = transcript(head.parts(rest));
        let beside = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&beside, found).unwrap();
        } else {
            assert_eq!(found, fs::read_to_string(&beside).unwrap_or_default(), "{}: {ADVICE}", path.display());
        }
    }
    assert!(told > 0, "no journal of format {FORMAT}: {ADVICE}");
}

fn transcript(parts: [&[u8]; 2]) -> String {
    let (mut text, mut names, mut core): (String, Names, Option<Supervisor>) = Default::default();
    let mut begin = None;
    let mut last = Instant(0);
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        let (mut next, mut reader) = Reader::open(part).expect(ADVICE);
        assert!(core.is_none_or(|before| before == next), "it does not begin where the one before ends");
        names.groups = Names::of(&next).groups;
        names.places.extend(Names::of(&next).places);
        while let Some((now, event)) = reader.entry().expect(ADVICE) {
            next.handle(now, event);
            let since = now.since(*begin.get_or_insert(now)).as_millis();
            let actions: Vec<_> = std::iter::from_fn(|| next.poll_action()).collect();
            actions.iter().for_each(|action| names.learn(action));
            text.push_str(&format!("{since:>8} ms <- {}\n", names.event(&event)));
            text.extend(actions.iter().map(|action| format!("{:>15} -> {}\n", "", names.action(action))));
            common::check_invariants(&next);
            assert_eq!(read_snapshot(&write_snapshot(&next).0).as_ref(), Ok(&next));
            last = now;
        }
        core = Some(next);
    }
    let core = core.expect("an empty journal");
    text.extend(state_lines(&core, last).iter().map(|line| format!("{line}\n")));
    text
}
