//! How log files are, in words. Called by `overview` and by `cli::main`. Pure: a status in, lines out.

use super::render::plain;
use crate::api::{GroupStatus, LogStatus, Status};

/// What is wrong with the files of a group, a line each.
pub(super) fn troubles(group: &GroupStatus) -> Vec<String> {
    group.logs.iter().filter(|log| log.is_in_trouble()).map(|log| format!("  {}", trouble(log))).collect()
}

/// The same for all groups, for stderr.
pub(super) fn warnings(status: &Status) -> String {
    let of = |group: &GroupStatus| {
        let name = plain(&group.name);
        troubles(group).iter().map(|line| format!("firestarter: {name}: {}\n", line.trim_start())).collect::<String>()
    };
    status.groups.iter().map(of).collect()
}

/// All that is known of the files of all groups, and how their workers failed last, in their own words.
pub(super) fn all(status: &Status) -> String {
    let of = |group: &GroupStatus| {
        let name = plain(&group.name);
        let logs = group.logs.iter().map(|log| format!("{name}: {}\n", counts(log)));
        let said = group.last_failure.iter().flat_map(|last| &last.stderr);
        let said = said.map(|line| format!("{name}: its stderr at the last failure | {}\n", plain(line)));
        logs.chain(said).collect::<String>()
    };
    status.groups.iter().map(of).collect()
}

fn trouble(log: &LogStatus) -> String {
    let dropped = match log.dropped_bytes {
        0 => None,
        bytes => Some(format!("{} ({}) dropped", so_many(log.dropped_lines, "line"), so_many(bytes, "byte"))),
    };
    let all = log.error.iter().map(|error| plain(error)).chain(dropped).collect::<Vec<_>>().join("; ");
    format!("{} {}: {all}", log.stream.key(), plain(&log.path))
}

fn counts(log: &LogStatus) -> String {
    let LogStatus { bytes, torn_lines, rotations, .. } = log;
    let (rotations, torn) = (so_many(*rotations, "rotation"), so_many(*torn_lines, "torn line"));
    let well = format!("{} written, {rotations}, {torn}", so_many(*bytes, "byte"));
    match log.is_in_trouble() {
        true => format!("{}; {well}", trouble(log)),
        false => format!("{} {}: {well}", log.stream.key(), plain(&log.path)),
    }
}

fn so_many(count: u64, thing: &str) -> String {
    if count == 1 {
        format!("1 {thing}")
    } else {
        format!("{count} {thing}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{status_example, LogStream};

    #[test]
    fn what_is_wrong_is_shown_and_the_rest_if_somebody_asks() {
        let well = LogStatus {
            stream: LogStream::Stdout,
            path: "/log".into(),
            bytes: 4096,
            dropped_bytes: 0,
            dropped_lines: 0,
            torn_lines: 1,
            rotations: 3,
            error: None,
        };
        let full = LogStatus {
            stream: LogStream::Stderr,
            dropped_bytes: 70,
            dropped_lines: 2,
            error: Some("no space left on device".into()),
            ..well.clone()
        };
        let mut status = status_example();
        status.groups[0].logs = vec![well, full];
        if let Some(last) = &mut status.groups[0].last_failure {
            last.stderr = vec!["no \u{1b}[31mmodule".into()];
        }
        let wrong = "stderr_log /log: no space left on device; 2 lines (70 bytes) dropped";
        assert_eq!(troubles(&status.groups[0]), [format!("  {wrong}")]);
        assert_eq!(warnings(&status), format!("firestarter: web: {wrong}\n"));
        let counts = "4096 bytes written, 3 rotations, 1 torn line";
        let want = format!(
            "web: stdout_log /log: {counts}\nweb: {wrong}; {counts}\nweb: its stderr at the last failure | no \\u{{1b}}[31mmodule\n"
        );
        assert_eq!(all(&status), want);
    }
}
