//! Looks whether a log can stand where it is configured: no folder has its path, and its folder is there.
//!
//! Called by `output` for each log. What is there is told by the `Surroundings`; whether it may be written is not asked.

use std::io::ErrorKind;
use std::path::Path;

use super::super::fault::Ledger;
use super::super::value::Item;
use super::super::Surroundings;

/// Notes why there can be no such file. `made`: folders that do not exist are made.
pub(super) fn check(path: &Path, made: bool, item: &Item<'_>, around: &Surroundings<'_>, ledger: &mut Ledger<'_>) {
    match (around.is_folder)(path) {
        Ok(true) => {
            item.note(&format!("{} is a folder", shown(path)), ledger).advise("name a file in it");
            return;
        }
        Ok(false) => return,
        Err(_) => {}
    }
    for folder in path.ancestors().skip(1) {
        let error = match (around.is_folder)(folder) {
            Ok(true) => return,
            Ok(false) => {
                item.note(&format!("{} is no folder", shown(folder)), ledger).advise("name a file in another one");
                return;
            }
            Err(error) => error,
        };
        let missing = error.kind() == ErrorKind::NotFound;
        if missing && !made {
            let advice = match item.key {
                "path" => "create it, or write create_parents = true",
                _ => "create it, or write a table: { path = \"PATH\", create_parents = true }",
            };
            item.note(&format!("the folder {} does not exist", shown(folder)), ledger).advise(advice);
            return;
        }
        if !missing && error.kind() != ErrorKind::NotADirectory {
            // Who may not look there learns more at the start.
            return;
        }
    }
}

/// A path in full, as a message may show it.
fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string().replace("\\'", "'")
}
