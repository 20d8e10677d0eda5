//! Logs: as text, as tables, what stands at their paths, and two that are one file.

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::keys::LOG_TABLE;
use super::super::{page, Compression, Form, LogFile, Output, Overflow, Rotation, Schedule, Unit};
use super::{faults, parsed, web, web_fault};

fn log(written: &str) -> LogFile {
    match web(&format!("stdout_log = '{written}'")).launch.stdout {
        Output::File(log) => log,
        other @ (Output::PassOn(_) | Output::Null) => panic!("{written}: {other:?}"),
    }
}

#[test]
fn logs_by_size_and_by_time() {
    let size = |max_bytes, backups| Rotation::Size { max_bytes, backups };
    let time = |interval, unit, utc, backups| Rotation::Time(Schedule { interval, unit, utc, backups });
    for (written, path, rotation) in [
        ("size:10240:5:/tmp/web1_out.log", "/tmp/web1_out.log", size(10240, 5)),
        ("size:10MiB:5:/a", "/a", size(10 << 20, 5)),
        ("size:64k:5:/a", "/a", size(64 << 10, 5)),
        ("size:10MB:5:/a", "/a", size(10_000_000, 5)),
        ("SiZe:1:0:o.log", "/srv/app/o.log", size(1, 0)),
        ("size:18446744073709551615:4294967295:/a:b:c", "/a:b:c", size(u64::MAX, u32::MAX)),
        ("time:3:D:U:7:/tmp/web1_out.log", "/tmp/web1_out.log", time(3, Unit::Days, true, 7)),
        ("time:1:s:utc:0:/a", "/a", time(1, Unit::Seconds, true, 0)),
        ("TIME:60:m:l:1:/a:b", "/a:b", time(60, Unit::Minutes, false, 1)),
        ("time:4294967295:H:Local:1:/a", "/a", time(u32::MAX, Unit::Hours, false, 1)),
        ("time:5:midnight:L:1:/a", "/a", time(1, Unit::Midnight, false, 1)),
        ("./sizes:1:2:/x", "/srv/app/sizes:1:2:/x", Rotation::Never),
        ("sizes:1", "/srv/app/sizes:1", Rotation::Never),
        ("web:1:2", "/srv/app/web:1:2", Rotation::Never),
        ("./NULL", "/srv/app/NULL", Rotation::Never),
        ("/time:1", "/time:1", Rotation::Never),
    ] {
        assert_eq!(log(written), LogFile::new(path.into(), rotation), "{written}");
    }
}

#[test]
fn faults_of_logs() {
    let size = "write size:MAX_BYTES:BACKUPS:PATH, such as size:10MiB:5:/var/log/web.log";
    let time = "write time:INTERVAL:UNIT:ZONE:BACKUPS:PATH, such as time:1:D:U:7:/var/log/web.log";
    let kind = "it begins neither with size: nor with time:";
    let kinds = "write size:MAX_BYTES:BACKUPS:PATH or time:INTERVAL:UNIT:ZONE:BACKUPS:PATH";
    let max_bytes = "MAX_BYTES is no number of bytes above 0, and no size such as 10MiB";
    for (written, fault, advice) in [
        ("size:1:2:", "PATH is empty", size),
        ("size:0:2:/x", max_bytes, size),
        ("size:0M:2:/x", max_bytes, size),
        ("size:18446744073709551616:2:/x", max_bytes, size),
        ("size:+1:2:/x", max_bytes, size),
        ("size:1.5M:2:/x", max_bytes, size),
        ("size:10X:2:/x", max_bytes, size),
        ("size::2:/x", max_bytes, size),
        ("size:1:-1:/x", "BACKUPS is no whole number from 0 to 4294967295", size),
        ("size:1:/x", "BACKUPS is missing", size),
        ("size:/x", "MAX_BYTES and BACKUPS are missing", size),
        ("size:1:2", "PATH is missing", size),
        ("size:", "BACKUPS and PATH are missing", size),
        ("time:0:D:U:7:/x", "INTERVAL is no whole number from 1 to 4294967295", time),
        ("time:1:W:U:7:/x", "UNIT is not S, M, H, D or MIDNIGHT", time),
        ("time:1:D:Z:7:/x", "ZONE is not U, UTC, L or LOCAL", time),
        ("time:1:D:U:x:/x", "BACKUPS is no whole number from 0 to 4294967295", time),
        ("time:1:D:U:7:", "PATH is empty", time),
        ("time:1:D:7:/x", "BACKUPS is missing", time),
        ("time:1:D", "ZONE and BACKUPS and PATH are missing", time),
        ("sizes:1:2:/x", kind, kinds),
        ("tmie:1:D:U:7:x", kind, kinds),
        ("Null", "it is neither \"null\" nor a path", "write \"null\", or ./ before it if a file has this name"),
        ("/var/log/", "the path is that of a folder", "write the path of a file"),
        ("size:1:1:/var/log/", "the path is that of a folder", "write the path of a file"),
        ("..", "the path is that of a folder", "write the path of a file"),
        ("/", "the path is that of a folder", "write the path of a file"),
        ("./.", "the path is that of a folder", "write the path of a file"),
    ] {
        assert_eq!(
            web_fault(&format!("stderr_log = '{written}'")),
            format!("3:14 stderr_log: \"{written}\": {fault} = {advice}")
        );
    }
}

/// The log of a table with these keys, beside its path.
fn table(keys: &str) -> LogFile {
    match web(&format!("stderr_log = {{ path = 'e.log'{keys} }}")).launch.stderr {
        Output::File(log) => log,
        other @ (Output::PassOn(_) | Output::Null) => panic!("{keys}: {other:?}"),
    }
}

#[test]
fn a_table_says_what_the_text_says() {
    let plain = LogFile::new("/srv/app/e.log".into(), Rotation::Never);
    assert_eq!(table(""), plain);
    assert_eq!(table(", pass_on = false"), plain);
    for rotate in ["size:10240:5", "SIZE:10MiB:0", "time:3:D:U:7", "time:1:midnight:local:0"] {
        assert_eq!(table(&format!(", rotate = '{rotate}'")), log(&format!("{rotate}:e.log")), "{rotate}");
    }
    let headed = web("[web.stdout_log]\npath = '/a'\nrotate = 'size:1:1'").launch.stdout;
    assert_eq!(headed, Output::File(log("size:1:1:/a")));
    assert_eq!(web("stdoutlog = { path = './size:x' }").launch.stdout, web("stdout_log = './size:x'").launch.stdout);
}

#[test]
fn every_key_of_the_table_is_read() {
    let plain = table("");
    let sized = log("size:1M:2:e.log");
    let form = |form| LogFile { form, ..plain.clone() };
    let line_max = |line_max| LogFile { line_max, ..plain.clone() };
    for (keys, want) in [
        ("rotate = 'size:1M:2', compress = 'gzip'", LogFile { compress: Some(Compression::Gzip), ..sized.clone() }),
        ("rotate = 'size:1M:2', compress = 'zstd'", LogFile { compress: Some(Compression::Zstd), ..sized.clone() }),
        ("rotate = 'size:1M:2', max_total = 1048577", LogFile { max_total: Some((1 << 20) + 1), ..sized }),
        ("rotate = 'time:1:H:L:2', max_total = 1", LogFile { max_total: Some(1), ..log("time:1:H:L:2:e.log") }),
        ("form = 'plain'", plain.clone()),
        ("form = 'timed'", form(Form::Timed)),
        ("form = 'json'", form(Form::Json { nested: false })),
        ("form = 'json', nested_json = false", form(Form::Json { nested: false })),
        ("nested_json = true, form = 'json'", form(Form::Json { nested: true })),
        ("on_overflow = 'wait'", plain.clone()),
        ("on_overflow = 'block'", LogFile { overflow: Overflow::Block, ..plain.clone() }),
        ("on_overflow = 'drop'", LogFile { overflow: Overflow::Drop, ..plain.clone() }),
        ("line_max = '1MiB'", plain.clone()),
        ("line_max = 1024", line_max(1 << 10)),
        ("line_max = '16M'", line_max(16 << 20)),
        ("create_parents = true", LogFile { create_parents: true, ..plain.clone() }),
        ("create_parents = false", plain.clone()),
    ] {
        assert_eq!(table(&format!(", {keys}")), want, "{keys}");
    }
    let stdout = |keys: &str| web(&format!("stdout_log = {{ pass_on = true{keys} }}")).launch.stdout;
    assert_eq!(stdout(""), web("").launch.stdout);
    assert_eq!(stdout(", form = 'timed'"), Output::PassOn(Form::Timed));
    let own = web("stdout_log = '/dev/stdout'\nstderr_log = '/proc/self/fd/2'").launch;
    assert_eq!((own.stdout, own.stderr), (Output::PassOn(Form::Plain), Output::PassOn(Form::Plain)));
    assert!(matches!(web("stdout_log = '/dev/stderr'").launch.stdout, Output::File(_)), "another stream");
    assert_eq!(stdout(", form = 'json', nested_json = true"), Output::PassOn(Form::Json { nested: true }));
}

/// A table, and its fault.
const FAULTS: &[(&str, &str)] = &[
    ("{}", "3:14 stdout_log: path is missing = write path = \"/var/log/web.log\" in it, or pass_on = true"),
    (
        "{ pass_on = false }",
        "3:14 stdout_log: path is missing = write path = \"/var/log/web.log\" in it, or pass_on = true",
    ),
    ("{ path = 1 }", "3:23 path: expected a path as a string, found 1 = put it in quotes"),
    ("{ path = '' }", "3:23 path: expected a path as a string, found an empty string"),
    ("{ path = 'null' }", "3:23 path: \"null\" is no file = write stdout_log = \"null\", without a table"),
    ("{ path = '/a/' }", "3:23 path: \"/a/\": the path is that of a folder = write the path of a file"),
    (
        "{ path = 'size:1:1:/a' }",
        "3:23 path: \"size:1:1:/a\": in a table the rotation stands in rotate = write path = \"PATH\", rotate = \
         \"size:10MiB:5\"",
    ),
    ("{ path = '/a', rotat = 'x' }", "3:29 stdout_log: unknown key \"rotat\" = did you mean rotate?"),
    ("{ pass_on = 'yes' }", "3:26 pass_on: expected true or false, found the string \"yes\" = write pass_on = true"),
    ("{ path = '/a', rotate = 5 }", "3:38 rotate: expected a rotation as a string, found 5 = put it in quotes"),
    (
        "{ path = '/a', rotate = 'daily' }",
        "3:38 rotate: \"daily\": it begins neither with size: nor with time: = write size:MAX_BYTES:BACKUPS or \
         time:INTERVAL:UNIT:ZONE:BACKUPS",
    ),
    (
        "{ path = '/a', rotate = 'size:1:1:/a' }",
        "3:38 rotate: \"size:1:1:/a\": nothing may follow BACKUPS here = write the path as path = \"PATH\"",
    ),
    (
        "{ path = '/a', rotate = 'size:1.5' }",
        "3:38 rotate: \"size:1.5\": BACKUPS is missing = write size:MAX_BYTES:BACKUPS, such as size:10MiB:5",
    ),
    (
        "{ path = '/a', rotate = 'size:0:1' }",
        "3:38 rotate: \"size:0:1\": MAX_BYTES is no number of bytes above 0, and no size such as 10MiB = write \
         size:MAX_BYTES:BACKUPS, such as size:10MiB:5",
    ),
    (
        "{ path = '/a', rotate = 'time:0:D:U:7' }",
        "3:38 rotate: \"time:0:D:U:7\": INTERVAL is no whole number from 1 to 4294967295 = write \
         time:INTERVAL:UNIT:ZONE:BACKUPS, such as time:1:D:U:7",
    ),
    (
        "{ path = '/a', rotate = 'time:1:W:U:7' }",
        "3:38 rotate: \"time:1:W:U:7\": UNIT is not S, M, H, D or MIDNIGHT = write \
         time:INTERVAL:UNIT:ZONE:BACKUPS, such as time:1:D:U:7",
    ),
    (
        "{ path = '/a', compress = 'gzip' }",
        "3:29 compress: without rotate there are no backups = write rotate = \"size:10MiB:5\" too, or remove it",
    ),
    (
        "{ path = '/a', max_total = '1G' }",
        "3:29 max_total: without rotate there are no backups = write rotate = \"size:10MiB:5\" too, or remove it",
    ),
    (
        "{ path = '/a', rotate = 'time:1:D:U:7', compress = 'gzpi' }",
        "3:65 compress: expected \"gzip\" or \"zstd\", found the string \"gzpi\" = did you mean compress = \"gzip\"?",
    ),
    (
        "{ path = '/a', rotate = 'time:1:D:U:7', max_total = 0 }",
        "3:66 max_total: expected a size above 0, found 0 = write max_total = \"1GiB\"",
    ),
    (
        "{ path = '/a', rotate = 'size:1M:7', max_total = '1M' }",
        "3:63 max_total: 1048576 bytes for the log and its backups, and the log alone may have 1048576 = make it \
         larger than MAX_BYTES of rotate",
    ),
    (
        "{ path = '/a', form = 'jsno' }",
        "3:36 form: expected \"plain\", \"timed\" or \"json\", found the string \"jsno\" = did you mean form = \
         \"json\"?",
    ),
    (
        "{ path = '/a', form = 'timed', nested_json = true }",
        "3:45 nested_json: form is not \"json\" = write form = \"json\" too, or remove it",
    ),
    (
        "{ path = '/a', form = 'json', nested_json = 1 }",
        "3:58 nested_json: expected true or false, found 1 = write nested_json = true",
    ),
    (
        "{ path = '/a', on_overflow = 'dorp' }",
        "3:43 on_overflow: expected \"wait\", \"block\" or \"drop\", found the string \"dorp\" = did you mean \
         on_overflow = \"drop\"?",
    ),
    (
        "{ path = '/a', line_max = 1023 }",
        "3:40 line_max: expected a size from 1 KiB to 16 MiB, found 1023 = write line_max = \"1MiB\"",
    ),
    (
        "{ path = '/a', line_max = 16777217 }",
        "3:40 line_max: expected a size from 1 KiB to 16 MiB, found 16777217 = write line_max = \"1MiB\"",
    ),
    (
        "{ path = '/a', line_max = '2048' }",
        "3:40 line_max: expected a number of bytes, or a string with a unit, found the string \"2048\" = write \
         line_max = 2048 for bytes, or add a unit; the units are K, M, G and T, of 1024 each; KB, MB and so on are of \
         1000",
    ),
    (
        "{ path = '/a', line_max = '2 K' }",
        "3:40 line_max: expected a number of bytes, or a string with a unit, found the string \"2 K\" = write \
         line_max = \"1MiB\"; the units are K, M, G and T, of 1024 each; KB, MB and so on are of 1000",
    ),
    (
        "{ path = '/a', create_parents = 'true' }",
        "3:46 create_parents: expected true or false, found the string \"true\" = write create_parents = true",
    ),
    (
        "{ pass_on = true, path = '/a' }",
        "3:32 path: with pass_on = true there is no file = remove it, or remove pass_on",
    ),
    (
        "{ pass_on = true, form = 'json', line_max = 'x' }",
        "3:47 line_max: with pass_on = true there is no file = remove it, or remove pass_on",
    ),
];

#[test]
fn faults_of_tables() {
    for (table, fault) in FAULTS {
        assert_eq!(web_fault(&format!("stdout_log = {table}")), *fault, "{table}");
    }
    let all = LOG_TABLE.iter().map(|part| part.name).collect::<Vec<_>>().join(", ");
    let unknown = format!("3:29 stdout_log: unknown key \"zzz\" = a log has {all}");
    assert_eq!(web_fault("stdout_log = { path = '/a', zzz = 'x' }"), unknown);
    assert!(web_fault("stderr_log = { path = 'null' }").ends_with("write stderr_log = \"null\", without a table"));
}

#[test]
fn all_faults_of_a_table_are_told_at_once() {
    let text = "[web]\nexec_start = 'a'\n[web.stdout_log]\nrotate = 'size'\ncompress = 'x'\nmax_total = -1\nform = 1\n\
                nested_json = 2\non_overflow = 3\nline_max = 4\ncreate_parents = 5\npass_on = 6\npaht = '/a'\n";
    let found = faults(text);
    let lines: Vec<&str> = found.iter().filter_map(|fault| fault.split(':').next()).collect();
    assert_eq!(lines, ["4", "5", "6", "7", "8", "9", "10", "11", "12", "13"], "{found:#?}");
    let both = "stdout_log = { path = '/none/a', line_max = 1 }\nstderr_log = { form = 'x' }";
    assert_eq!(faults(&format!("[web]\nexec_start = 'a'\n{both}")).len(), 4);
}

#[test]
fn keys_of_the_table_that_stand_in_the_group() {
    for part in LOG_TABLE.iter().filter(|part| part.name != "path") {
        let key = part.name;
        let advice = format!("write it in stdout_log = {{ {key} = … }}, or in stderr_log");
        assert_eq!(web_fault(&format!("{key} = 1")), format!("3:1 unknown key \"{key}\" = {advice}"));
    }
}

#[test]
fn what_stands_at_a_path() {
    let no_folder = "create it, or write a table: { path = \"PATH\", create_parents = true }";
    for (written, fault) in [
        ("'/folder'", "stdout_log: /folder is a folder = name a file in it".to_owned()),
        ("'size:1:1:/folder'", "stdout_log: /folder is a folder = name a file in it".to_owned()),
        ("'/none/a/b.log'", format!("stdout_log: the folder /none/a does not exist = {no_folder}")),
        ("'/file/a'", "stdout_log: /file is no folder = name a file in another one".to_owned()),
        ("'/file/a/b'", "stdout_log: /file is no folder = name a file in another one".to_owned()),
    ] {
        assert_eq!(web_fault(&format!("stdout_log = {written}")), format!("3:14 {fault}"));
    }
    for (written, fault) in [
        ("path = '/folder'", "path: /folder is a folder = name a file in it"),
        ("path = '/folder', create_parents = true", "path: /folder is a folder = name a file in it"),
        ("path = '/none/a'", "path: the folder /none does not exist = create it, or write create_parents = true"),
        ("path = '/file/a/b', create_parents = true", "path: /file is no folder = name a file in another one"),
    ] {
        assert_eq!(web_fault(&format!("stdout_log = {{ {written} }}")), format!("3:23 {fault}"));
    }
    for fine in ["'/folder/new'", "'/denied/a/b'", "{ path = '/none/a/b', create_parents = true }"] {
        web(&format!("stdout_log = {fine}"));
    }
}

#[test]
fn the_real_look_at_a_path() {
    let here = std::env::current_exe().unwrap();
    assert!(super::super::is_folder(here.parent().unwrap()).unwrap());
    assert!(!super::super::is_folder(&here).unwrap());
    let kind = |path: PathBuf| super::super::is_folder(&path).unwrap_err().kind();
    assert_eq!(kind(here.join("x")), std::io::ErrorKind::NotADirectory);
    assert_eq!(kind(here.with_file_name("no such file")), std::io::ErrorKind::NotFound);
}

#[test]
fn a_log_is_no_backup_of_another() {
    assert_eq!(
        web_fault("stdout_log = 'size:1:1:o'\nstderr_log = 'o.1'"),
        "4:14 stderr_log: backups of /srv/app/o get this name, by web at 3:14 = write another path"
    );
    for name in ["o.7.gz", "o.2.zst", "o.20260301", "o.20260301.2"] {
        assert!(
            web_fault(&format!("stderr_log = '{name}'\nstdout_log = 'time:1:D:U:1:o'")).contains("backups of"),
            "{name}"
        );
    }
    for fine in ["o.1.log", "o.", "o", "1", "p.1", "o.gz", "o1"] {
        web(&format!("stdout_log = 'size:1:1:o'\nstderr_log = {{ path = '{fine}', rotate = 'size:1:1' }}"));
    }
    web("stdout_log = 'o'\nstderr_log = 'o.1'");
}

#[test]
fn one_file_is_written_in_one_way() {
    web("stdout_log = 'size:1:1:o'\nstderr_log = 'size:1:1:/srv/app/o'");
    web("stdout_log = 'size:1:1:o'\nstderr_log = { path = '/srv/app/o', rotate = 'size:1:1', form = 'plain' }");
    assert_eq!(
        web_fault("stdout_log = 'o'\nstderr_log = 'size:1:1:o'"),
        "4:14 stderr_log: web writes this file with another rotation at 3:14 = write the same rotation, or another path"
    );
    assert_eq!(
        web_fault("stdout_log = '/link/app/o'\nstderr_log = '/srv/app/o'"),
        "4:14 stderr_log: web writes this file too, as /link/app/o, at 3:14 = write the same path, or one that leads to \
         another file"
    );
    assert!(web_fault("stdout_log = 'size:1:1:/link/app/o'\nstderr_log = 'o.1'").contains("backups of /link/app/o"));
    let two = "[a]\nexec_start='x'\nstdout_log='size:1:1:/o'\n[b]\nexec_start='x'\nstdout_log='size:1:2:/o'\n";
    assert!(faults(two).concat().starts_with("6:12 stdout_log: a writes this file with another rotation at 3:12"));
    let base = "path = '/o', rotate = 'size:1K:1'";
    for (more, differs) in [
        ("compress = 'gzip'", "compress"),
        ("max_total = '2K'", "max_total"),
        ("form = 'timed'", "form"),
        ("form = 'json', nested_json = true", "form and nested_json"),
        ("on_overflow = 'drop'", "on_overflow"),
        ("line_max = '2K'", "line_max"),
        ("create_parents = true", "create_parents"),
    ] {
        assert_eq!(
            web_fault(&format!("stdout_log = {{ {base} }}\nstderr_log = {{ {base}, {more} }}")),
            format!(
                "4:23 stderr_log: web writes this file with another {differs} at 3:23 = write the same {differs}, or \
                 another path"
            )
        );
    }
    let json = "path = '/o', form = 'json', nested_json";
    let fault = web_fault(&format!("stdout_log = {{ {json} = true }}\nstderr_log = {{ {json} = false }}"));
    assert!(fault.contains("with another nested_json at 3:23"), "{fault}");
}

#[test]
fn what_is_kept_in_memory() {
    let ring = |lines: &str| web(lines).launch.log_ring;
    assert_eq!(ring(""), 64 << 10);
    assert_eq!((ring("log_ring = 0"), ring("log_ring = 1"), ring("log_ring = '16MiB'")), (0, 1, 16 << 20));
    assert_eq!(
        web_fault("log_ring = 16777217"),
        "3:12 log_ring: expected a size of at most 16 MiB, found 16777217 = write log_ring = \"64KiB\""
    );
    assert!(
        web_fault("log_ring = -1").starts_with("3:12 log_ring: expected a number of bytes, or a string with a unit")
    );
}

#[test]
fn the_reference_has_the_table() {
    let (whole, help) = (page::whole(), page::of_key("stdout_log").unwrap());
    for part in LOG_TABLE {
        assert!(whole.contains(&format!("\n- `{}`: {}", part.name, part.form)), "{}", part.name);
        assert!(help.contains(&format!("\nin a table, {}: ", part.name)), "{help}");
        assert!(part.about.ends_with('.') && !part.about.contains("  "), "{}", part.name);
    }
}

/// A value, good or bad, for any key of the table.
fn any_value() -> impl Strategy<Value = String> {
    let some = prop::sample::select(vec![
        "true",
        "false",
        "0",
        "1",
        "-1",
        "4096",
        "1e9",
        "99999999999999999999",
        "'4K'",
        "'1GiB'",
        "'gzip'",
        "'zstd'",
        "'json'",
        "'timed'",
        "'wait'",
        "'drop'",
        "'null'",
        "'/a'",
        "'/none/a'",
        "'/folder'",
        "'/file/a'",
        "'a/'",
        "''",
        "'size:1K:5'",
        "'size:1K:5:/a'",
        "'time:1:D:U:7'",
        "'time:0:D:U:7'",
        "[]",
        "{}",
        "[[]]",
        "1979-05-27",
        "\"\\u0000\"",
    ]);
    prop_oneof![some.prop_map(str::to_owned), "[a-z:/.]{0,12}".prop_map(|text| format!("'{text}'")), "\\PC{0,8}"]
}

fn any_table() -> impl Strategy<Value = String> {
    let names: Vec<&str> = LOG_TABLE.iter().map(|part| part.name).chain(["zzz"]).collect();
    let count = names.len();
    let chosen = prop::sample::subsequence(names, 0..=count).prop_shuffle();
    let entries = chosen.prop_flat_map(|names| {
        let values = prop::collection::vec(any_value(), names.len());
        values.prop_map(move |values| {
            let entries: Vec<String> =
                names.iter().zip(values).map(|(name, value)| format!("{name} = {value}")).collect();
            format!("{{ {} }}", entries.join(", "))
        })
    });
    prop_oneof![4 => entries, 1 => "\\PC{0,30}".prop_map(|text| format!("{{ {text} }}"))]
}

/// What a table that has no faults may come to.
fn sound(output: &Output) {
    let Output::File(log) = output else { return };
    assert!(log.path.is_absolute() && log.path.file_name().is_some(), "{log:?}");
    assert!((1 << 10..=16 << 20).contains(&log.line_max), "{log:?}");
    match log.rotation {
        Rotation::Never => assert!(log.compress.is_none() && log.max_total.is_none(), "{log:?}"),
        Rotation::Size { max_bytes, .. } => {
            assert!(max_bytes > 0 && log.max_total.is_none_or(|total| total > max_bytes))
        }
        Rotation::Time(schedule) => assert!(schedule.interval > 0 && log.max_total != Some(0)),
    }
}

proptest! {
    // A failure prints its input; nothing is written into the source tree.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_table_is_read_or_refused(one in any_table(), other in any_table()) {
        let text = format!("[web]\nexec_start = 'a'\nstdout_log = {one}\nstderr_log = {other}\n");
        match parsed(&text) {
            Ok(config) => {
                let launch = &config.groups[0].launch;
                sound(&launch.stdout);
                sound(&launch.stderr);
            }
            Err(found) => for fault in &found {
                let line = text.split('\n').nth(fault.line.wrapping_sub(1));
                let width = line.map_or(0, |line| line.chars().count() + 1);
                prop_assert!(fault.line >= 3 && (1..=width).contains(&fault.column), "{fault:?} in {text}");
            }
        }
    }
}
