//! Who workers run as: `uid`, `gid`, `user`, `group`, `umask`; the lists are those of the tests.

use std::path::PathBuf;

use super::super::{Account, Identity};
use super::{faults, web, web_fault};

fn identity(lines: &str) -> Identity {
    web(lines).launch.identity.unwrap_or_else(|| panic!("{lines}: no identity"))
}

fn of(uid: u32, gid: u32, groups: &[u32], name: Option<&str>) -> Identity {
    let account = |name: &str| Account { name: name.to_owned(), home: PathBuf::from(format!("/home/{name}")) };
    Identity { uid, gid, groups: groups.to_vec(), account: name.map(account) }
}

#[test]
fn a_user_brings_its_groups() {
    assert_eq!(web("").launch.identity, None);
    for line in ["uid = 1000", "user = 'me'", "user = '1000'", "user = 1000"] {
        assert_eq!(identity(line), of(1000, 100, &[100, 4, 27], Some("me")), "{line}");
    }
    assert_eq!(identity("uid = 33"), of(33, 34, &[34], Some("www")));
}

#[test]
fn a_group_of_its_own() {
    for lines in
        ["uid = 1000\ngid = 50", "group = 'staff'\nuser = 'me'", "user = 'me'\ngid = 50", "uid = 1000\ngroup = '50'"]
    {
        assert_eq!(identity(lines), of(1000, 50, &[50, 4, 27], Some("me")), "{lines}");
    }
    // The tests' daemon runs as 1000.
    assert_eq!(identity("gid = 50"), of(1000, 50, &[50, 4, 27], Some("me")));
    assert_eq!(identity("group = 'staff'"), of(1000, 50, &[50, 4, 27], Some("me")));
}

#[test]
fn numbers_that_nobody_has() {
    assert_eq!(identity("uid = 4242\ngid = 77"), of(4242, 77, &[77], None));
    assert_eq!(identity("user = '4242'\ngid = 0"), of(4242, 0, &[0], None));
    assert_eq!(web_fault("uid = 4242"), "3:7 uid: there is no user 4242, so its group is not known = write gid too");
    assert!(web_fault("user = '4242'").starts_with("3:8 user: there is no user 4242, so"));
}

#[test]
fn names_that_nobody_has() {
    let missing = "create it, or write the name of one that exists";
    assert_eq!(web_fault("user = 'nobdy'"), format!("3:8 user: there is no user \"nobdy\" = {missing}"));
    assert_eq!(web_fault("user = 'nobdy'\ngid = 1"), format!("3:8 user: there is no user \"nobdy\" = {missing}"));
    assert_eq!(web_fault("group = 'x'"), format!("3:9 group: there is no group \"x\" = {missing}"));
    let both = faults("[web]\nexec_start = 'run'\nuser = 'nobdy'\ngroup = 'x'\n");
    assert_eq!(both.len(), 2, "both at once: {both:?}");
    assert_eq!(
        web_fault("user = 'broken'"),
        "3:8 user: cannot look up \"broken\": input/output error = see to the system's lists of users, or write numbers \
         that need no list"
    );
    assert!(web_fault("group = 'broken'").starts_with("3:9 group: cannot look up \"broken\": input/output error"));
    assert!(web_fault("uid = 7").starts_with("3:7 cannot look up the groups of \"stranger\": input/output error"));
}

#[test]
fn both_forms_together() {
    assert_eq!(
        web_fault("user = 'me'\nuid = 1000"),
        "3:1 user and uid both say who the workers run as = remove one of the two; user takes a name or a number"
    );
    assert!(web_fault("gid = 1\ngroup = 'staff'").starts_with("4:1 group and gid both say"));
    assert_eq!(faults("[w]\nexec_start='a'\nuid=1\ngid=1\nuser='me'\ngroup='staff'\n").len(), 2);
}

#[test]
fn no_users() {
    let range = "a whole number from 0 to 4294967294";
    assert_eq!(web_fault("uid = -1"), format!("3:7 uid: expected {range}, found -1 = write uid = 2"));
    assert!(web_fault("gid = 4294967295").starts_with(&format!("3:7 gid: expected {range}")));
    assert_eq!(web_fault("uid = 'me'"), "3:7 uid: expected a number, found the string \"me\" = write user = \"me\"");
    assert_eq!(
        web_fault("uid = '1000'"),
        format!("3:7 uid: expected {range}, found the string \"1000\" = write uid = 1000")
    );
    assert!(web_fault("gid = 'staff'").ends_with("= write group = \"staff\""));
    assert_eq!(web_fault("user = ''"), "3:8 user: expected the name of a user, found an empty string");
    assert!(web_fault("user = '4294967295'").contains("is too large for a number of a user"));
    assert!(web_fault("group = true").starts_with("3:9 group: expected the name of a group, found true"));
}

#[test]
fn umask() {
    assert_eq!(web("").launch.umask, None);
    for (written, bits) in [
        ("'022'", 0o022),
        ("'0o027'", 0o027),
        ("0o022", 0o022),
        ("'22'", 0o022),
        ("'0'", 0),
        ("'777'", 0o777),
        ("0o0", 0),
    ] {
        assert_eq!(web(&format!("umask = {written}")).launch.umask, Some(bits), "{written}");
    }
    let plain = "umask: a plain number is not octal, and so is easily another one than was meant";
    assert_eq!(web_fault("umask = 22"), format!("3:9 {plain} = write umask = \"022\""));
    assert_eq!(web_fault("umask = 7"), format!("3:9 {plain} = write umask = \"007\""));
    assert_eq!(web_fault("umask = 0x12"), format!("3:9 {plain} = write umask = \"022\""));
    assert_eq!(web_fault("umask = 99"), format!("3:9 {plain} = write umask = \"022\""));
    assert_eq!(web_fault("umask = -22"), format!("3:9 {plain} = write umask = \"022\""));
    let digits = "umask: expected octal digits in quotes, from \"0\" to \"777\", found";
    for (written, found) in [
        ("'1000'", "the string \"1000\""),
        ("0o1000", "0o1000"),
        ("'8'", "the string \"8\""),
        ("'+7'", "the string \"+7\""),
        ("' 7'", "the string \" 7\""),
        ("''", "an empty string"),
        ("'0o'", "the string \"0o\""),
        ("'77777777777777777777'", "the string \"77777777777777777777\""),
        ("1.5", "1.5"),
    ] {
        assert_eq!(web_fault(&format!("umask = {written}")), format!("3:9 {digits} {found} = write umask = \"022\""));
    }
    assert_eq!(
        web_fault("umask = 022"),
        "3:9 a number cannot begin with 0 = octal digits stand in quotes: \"022\"; any other number begins with another digit"
    );
}
