//! The watching thread, on real files. Nothing waits for a time: that a change is not told is shown by a later change of
//! another program that is told first.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::event::{poll, PollFd, PollFlags, Timespec};

use super::*;

/// A folder and a thread that watches programs in it: group 0 and so on, each with the paths that are given.
struct Bench {
    folder: PathBuf,
    programs: Vec<Vec<PathBuf>>,
    desk: &'static Desk,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("firestarter-programs-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().canonicalize().unwrap().join(name);
    fs::create_dir(&folder).unwrap();
    folder
}

fn subjects(programs: &[Vec<PathBuf>]) -> Vec<Subject> {
    let subject = |(programs, group): (&Vec<PathBuf>, u32)| Subject {
        group: GroupId(group),
        name: format!("g{group}"),
        programs: programs.clone(),
    };
    programs.iter().zip(0..).map(subject).collect()
}

/// Sets both times, as `touch` does: with one alone the kernel would tell of a write or a read.
fn touch(path: &Path) {
    let then = std::time::UNIX_EPOCH;
    File::open(path).unwrap().set_times(fs::FileTimes::new().set_accessed(then).set_modified(then)).unwrap();
}

/// A watcher without a thread.
fn watcher(programs: &[Vec<PathBuf>]) -> (&'static Desk, Watcher) {
    let desk: &'static Desk = Box::leak(Box::new(Desk::new().unwrap()));
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).unwrap();
    (desk, Watcher::new(desk, inotify, subjects(programs), SETTLE))
}

impl Bench {
    /// One path for each group. A change settles quickly, which does no harm where only its end matters.
    fn new(paths: &[&str]) -> Bench {
        Bench::searching(&paths.iter().map(std::slice::from_ref).collect::<Vec<_>>(), SETTLE / 5)
    }

    /// A change settles as slowly as for users.
    fn patient(paths: &[&str]) -> Bench {
        Bench::searching(&paths.iter().map(std::slice::from_ref).collect::<Vec<_>>(), SETTLE)
    }

    fn searching(paths: &[&[&str]], settle: Duration) -> Bench {
        let folder = new_folder();
        let programs: Vec<Vec<PathBuf>> =
            paths.iter().map(|paths| paths.iter().map(|path| folder.join(path)).collect()).collect();
        let desk = watch(subjects(&programs), settle).unwrap();
        Bench { folder, programs, desk }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// A program, made with its folders.
    fn put(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    /// Another program, renamed over it.
    fn replace(&self, path: &str, text: &str) {
        let fresh = format!("{path}.new");
        self.put(&fresh, text);
        self.rename(&fresh, path);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.at(path)).unwrap();
    }

    /// A link that is switched at once.
    fn switch(&self, path: &str, target: &str) {
        let fresh = format!("{path}.new");
        self.link(&fresh, target);
        self.rename(&fresh, path);
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
    }

    fn ask(&self, group: u32, known: Option<u64>) {
        self.desk.ask(Request { group: GroupId(group), known });
    }

    /// The next report. One at a time, since everything that a test does is followed by one.
    fn next(&self) -> Report {
        let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
        let mut bell = [PollFd::new(&self.desk.bell, PollFlags::IN)];
        assert_eq!(poll(&mut bell, Some(&limit)), Ok(1), "waited in vain for a report");
        let mut reports = self.desk.take();
        assert_eq!(reports.len(), 1, "{reports:?}");
        reports.remove(0)
    }

    /// Asks what is there now.
    fn begin(&self, group: u32) -> u64 {
        self.ask(group, None);
        let report = self.next();
        assert_eq!(report, Report { group: GroupId(group), print: self.print(group), changed: false });
        report.print
    }

    /// Waits for a change to be told, of this group before any other.
    fn changes(&self, group: u32) -> u64 {
        let report = self.next();
        assert_eq!(report, Report { group: GroupId(group), print: self.print(group), changed: true });
        report.print
    }

    fn print(&self, group: u32) -> u64 {
        self.print_now(group).unwrap()
    }

    /// What the print is now.
    fn print_now(&self, group: u32) -> Option<u64> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        path::look(&inotify, &self.programs[group as usize]).program.map(|(_, print)| print)
    }
}

#[test]
fn another_file_renamed_over_it_is_a_change_and_told_once() {
    let bench = Bench::new(&["app/server", "other"]);
    bench.put("app/server", "one");
    bench.put("other", "one");
    let (first, _) = (bench.begin(0), bench.begin(1));
    bench.replace("app/server", "two");
    assert_ne!(bench.changes(0), first);
    bench.replace("other", "two");
    bench.changes(1);
    bench.replace("app/server", "two");
    bench.changes(0);
}

#[test]
fn a_write_in_place_is_a_change() {
    let bench = Bench::new(&["server"]);
    bench.put("server", "one");
    let first = bench.begin(0);
    fs::write(bench.at("server"), "two, longer").unwrap();
    assert_ne!(bench.changes(0), first);
    // Through another name of the same file.
    fs::create_dir(bench.at("folder")).unwrap();
    fs::hard_link(bench.at("server"), bench.at("folder/elsewhere")).unwrap();
    fs::write(bench.at("folder/elsewhere"), "three, longer still").unwrap();
    bench.changes(0);
    touch(&bench.at("folder/elsewhere"));
    bench.changes(0);
}

#[test]
fn a_touch_is_a_change_and_what_leaves_the_content_alone_is_none() {
    let bench = Bench::new(&["server", "other"]);
    bench.put("server", "one");
    bench.put("other", "one");
    let (first, _) = (bench.begin(0), bench.begin(1));
    bench.mode("server", 0o700);
    bench.mode("server", 0o755);
    fs::hard_link(bench.at("server"), bench.at("backup")).unwrap();
    bench.rename("server", "away");
    bench.rename("away", "server");
    bench.replace("other", "two");
    bench.changes(1);
    touch(&bench.at("server"));
    assert_ne!(bench.changes(0), first);
}

#[test]
fn a_file_whose_times_are_all_alike_is_told_by_its_birth() {
    let bench = Bench::new(&["server"]);
    let put = |text| {
        bench.put("server", text);
        touch(&bench.at("server"));
        (fs::metadata(bench.at("server")).unwrap().ino(), bench.print(0))
    };
    for _ in 0..1000 {
        let first = put("one");
        fs::remove_file(bench.at("server")).unwrap();
        let second = put("two");
        assert_ne!(first.1, second.1);
        if first.0 == second.0 {
            return;
        }
    }
    eprintln!("skipped: this file system does not use the number of a removed file again at once");
}

#[test]
fn a_link_on_the_way_that_is_switched_is_a_change() {
    let bench = Bench::new(&["app/current/bin/server"]);
    for release in ["1", "2", "3"] {
        bench.put(&format!("app/releases/{release}/bin/server"), release);
    }
    bench.link("app/current", "releases/1");
    let first = bench.begin(0);
    bench.switch("app/current", "releases/2");
    let second = bench.changes(0);
    // As `ln -sfn` does it, with a moment in which there is none.
    fs::remove_file(bench.at("app/current")).unwrap();
    symlink(bench.at("app/releases/3"), bench.at("app/current")).unwrap();
    let third = bench.changes(0);
    assert!(first != second && second != third);
    // What lies where the link leads now is watched too.
    bench.replace("app/releases/3/bin/server", "3 again");
    bench.changes(0);
    // And back, which is a change like any other.
    bench.switch("app/current", "releases/1");
    assert_eq!(bench.changes(0), first);
}

#[test]
fn releases_that_share_the_file_are_told_apart() {
    let bench = Bench::new(&["current/server"]);
    bench.put("1/server", "one");
    fs::create_dir(bench.at("2")).unwrap();
    fs::hard_link(bench.at("1/server"), bench.at("2/server")).unwrap();
    bench.link("current", "1");
    let first = bench.begin(0);
    bench.switch("current", "2");
    assert_ne!(bench.changes(0), first);
}

#[test]
fn every_link_of_a_chain_is_watched() {
    let bench = Bench::new(&["run/here/../there/server"]);
    for release in ["1", "2", "3", "4"] {
        bench.put(&format!("releases/{release}/server"), release);
    }
    fs::create_dir_all(bench.at("run/here")).unwrap();
    bench.link("run/there", "../stable");
    bench.link("stable", bench.at("newest").to_str().unwrap());
    bench.link("newest", "./releases/../releases/1");
    bench.begin(0);
    bench.switch("newest", "releases/2");
    bench.changes(0);
    bench.switch("stable", "releases/3");
    bench.changes(0);
    bench.switch("run/there", "../releases/4");
    bench.changes(0);
    bench.replace("releases/4/real", "5");
    fs::remove_file(bench.at("releases/4/server")).unwrap();
    bench.link("releases/4/server", "real");
    bench.changes(0);
    bench.replace("releases/4/real", "6");
    bench.changes(0);
}

#[test]
fn a_link_that_leads_nowhere_is_nothing_until_it_leads_somewhere() {
    let bench = Bench::new(&["current/server", "other", "loop"]);
    bench.link("current", "releases/1");
    bench.link("loop", "loop");
    bench.put("other", "one");
    bench.ask(0, None);
    bench.ask(2, None);
    bench.begin(1);
    bench.put("releases/1/server", "one");
    bench.changes(0);
    bench.replace("loop", "no loop any more");
    bench.changes(2);
}

#[test]
fn what_is_deleted_is_nothing_and_what_comes_in_its_place_is_a_change() {
    let bench = Bench::new(&["a/b/server", "other"]);
    bench.put("a/b/server", "one");
    bench.put("other", "one");
    bench.begin(0);
    bench.begin(1);
    fs::remove_dir_all(bench.at("a")).unwrap();
    bench.replace("other", "two");
    bench.changes(1);
    bench.put("a/b/server", "two");
    bench.changes(0);
    fs::remove_dir_all(bench.at("a/b")).unwrap();
    bench.put("a/b/server", "three");
    bench.changes(0);
}

#[test]
fn a_folder_that_a_process_is_in_may_be_removed() {
    let bench = Bench::new(&["a/b/server", "other"]);
    bench.put("a/b/server", "one");
    bench.put("other", "one");
    bench.begin(0);
    bench.begin(1);
    // As long as these are open the kernel tells nobody who watches the folders that they are removed.
    let held = ["a", "a/b"].map(|folder| File::open(bench.at(folder)).unwrap());
    fs::remove_file(bench.at("a/b/server")).unwrap();
    bench.replace("other", "two");
    bench.changes(1);
    fs::remove_dir_all(bench.at("a")).unwrap();
    bench.put("a/b/server", "two");
    bench.changes(0);
    drop(held);
}

#[test]
fn a_folder_on_the_way_that_is_moved_is_followed() {
    let bench = Bench::new(&["a/b/c/server", "other"]);
    bench.put("a/b/c/server", "one");
    bench.put("fresh/b/c/server", "two");
    bench.put("other", "one");
    bench.begin(0);
    bench.begin(1);
    bench.rename("a", "old");
    bench.replace("old/b/c/server", "nobody runs that");
    bench.replace("other", "two");
    bench.changes(1);
    bench.rename("fresh", "a");
    bench.changes(0);
    bench.replace("a/b/c/server", "three");
    bench.changes(0);
}

#[test]
fn what_cannot_be_executed_is_nothing() {
    let bench = Bench::new(&["server", "other", "folder", "plain"]);
    bench.put("server", "one");
    bench.put("other", "one");
    bench.put("plain", "one");
    bench.mode("plain", 0o644);
    fs::create_dir(bench.at("folder")).unwrap();
    bench.begin(0);
    bench.ask(2, None);
    bench.ask(3, None);
    bench.begin(1);
    bench.mode("server", 0o644);
    fs::write(bench.at("server"), "two, longer").unwrap();
    bench.replace("other", "two");
    bench.changes(1);
    bench.mode("server", 0o755);
    bench.changes(0);
    bench.mode("plain", 0o755);
    bench.changes(3);
}

#[test]
fn groups_with_one_program_are_each_told() {
    let bench = Bench::new(&["server", "link/server", "server"]);
    bench.put("server", "one");
    bench.link("link", ".");
    // The third has not been asked for.
    bench.begin(0);
    bench.begin(1);
    bench.replace("server", "two");
    let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut told = Vec::new();
    while told.len() < 2 {
        let mut bell = [PollFd::new(&bench.desk.bell, PollFlags::IN)];
        assert_eq!(poll(&mut bell, Some(&limit)), Ok(1), "waited in vain: {told:?}");
        told.extend(bench.desk.take().into_iter().map(|report| (report.group.0, report.changed)));
    }
    told.sort_unstable();
    assert_eq!(told, [(0, true), (1, true)]);
}

#[test]
fn a_group_that_looks_elsewhere_takes_nothing_from_another() {
    let bench = Bench::new(&[]);
    bench.put("1/server", "one");
    bench.put("2/server", "two");
    bench.link("current", "1");
    let (_, mut watcher) = watcher(&[vec![bench.at("current/server")], vec![bench.at("1/server")]]);
    [0, 1].into_iter().for_each(|group| watcher.obey(Request { group: GroupId(group), known: None }));
    bench.switch("current", "2");
    watcher.obey(Request { group: GroupId(0), known: None });
    assert_eq!(watcher.touched(), [0]);
    bench.replace("1/server", "three");
    assert_eq!(watcher.touched(), [1]);
}

#[test]
fn what_differs_from_what_is_known_is_a_change_and_the_rest_is_none() {
    let bench = Bench::new(&["server", "other"]);
    bench.put("server", "one");
    bench.put("other", "one");
    bench.ask(0, bench.print_now(0));
    bench.ask(1, Some(1));
    bench.changes(1);
    // Asked again, as after the death of a daemon that had not taken the report.
    bench.ask(1, Some(1));
    bench.changes(1);
    bench.ask(0, Some(1));
    bench.changes(0);
}

#[test]
fn asked_anew_what_is_there_is_known_and_no_change_any_more() {
    let bench = Bench::patient(&["server", "other"]);
    bench.put("server", "one");
    bench.put("other", "one");
    let (first, _) = (bench.begin(0), bench.begin(1));
    bench.replace("server", "two");
    // An upgrade by command, before the change has settled.
    assert_ne!(bench.begin(0), first);
    bench.replace("other", "two");
    bench.changes(1);
}

#[test]
fn what_is_switched_back_before_it_has_settled_is_no_change() {
    let bench = Bench::patient(&["current/server", "other"]);
    bench.put("1/server", "one");
    bench.put("2/server", "two");
    bench.put("other", "one");
    bench.link("current", "1");
    bench.begin(0);
    bench.begin(1);
    bench.switch("current", "2");
    bench.switch("current", "1");
    bench.replace("other", "two");
    bench.changes(1);
}

/// Ends a thread, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nothing_is_told_while_it_keeps_changing() {
    let bench = Bench::patient(&["server", "other"]);
    bench.put("server", "one");
    bench.put("other", "one");
    bench.begin(0);
    bench.begin(1);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Opened and closed each time: nobody holds it open in between.
            while !over.load(Ordering::Relaxed) {
                File::options().append(true).open(bench.at("server")).unwrap().write_all(b"more").unwrap();
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        let _end = End(&over);
        for text in ["two", "three"] {
            bench.replace("other", text);
            bench.changes(1);
        }
    });
    bench.changes(0);
}

#[test]
fn what_is_open_for_writing_is_waited_for() {
    let bench = Bench::new(&["server", "other"]);
    bench.put("server", "one");
    bench.put("other", "one");
    bench.begin(0);
    bench.begin(1);
    let mut writer = File::options().append(true).open(bench.at("server")).unwrap();
    writer.write_all(b"half").unwrap();
    for text in ["two", "three"] {
        bench.replace("other", text);
        bench.changes(1);
    }
    drop(writer);
    bench.changes(0);
}

#[test]
fn a_program_that_is_searched_for_may_be_found_earlier_on_the_path() {
    let bench = Bench::searching(&[&["first/server", "second/server", "third/server"]], SETTLE / 5);
    bench.put("second/server", "one");
    let found = bench.begin(0);
    bench.put("first/server", "two");
    bench.changes(0);
    fs::remove_dir_all(bench.at("first")).unwrap();
    assert_eq!(bench.changes(0), found);
    bench.put("third/server", "three");
    bench.rename("second", "gone");
    bench.changes(0);
}

#[test]
fn what_happens_beside_the_program_wakes_nobody() {
    let bench = Bench::new(&[]);
    bench.put("busy/app/server", "one");
    let mut log = File::create(bench.at("busy/app/log")).unwrap();
    let (desk, watcher) = watcher(&[vec![bench.at("busy/app/server")]]);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        tell.send(rustix::thread::gettid()).unwrap();
        watcher.run()
    });
    let status = format!("/proc/self/task/{}/status", told.recv().unwrap());
    let switches = || {
        let text = fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        (line.unwrap().trim().parse::<u64>().unwrap(), text.contains("State:\tS"))
    };
    desk.ask(Request { group: GroupId(0), known: None });
    let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&desk.bell, PollFlags::IN)], Some(&limit)), Ok(1));
    let quiet = || {
        let before = switches();
        for round in 0..100 {
            log.write_all(b"a line\n").unwrap();
            let file = bench.at(&format!("busy/{round}"));
            fs::write(&file, "x").unwrap();
            fs::remove_file(file).unwrap();
            fs::read(bench.at("busy/app/server")).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        before.1 && before == switches()
    };
    // It may not sleep yet at the first time.
    assert!(std::iter::repeat_with(quiet).take(20).any(|quiet| quiet), "it wakes without a cause");
}

#[test]
fn names_on_the_way_matter_only_while_there_is_no_program() {
    let bench = Bench::new(&[]);
    bench.put("busy/app/server", "one");
    let (_, mut watcher) = watcher(&[vec![bench.at("busy/app/server")]]);
    for (from, to) in [("busy/app", "busy/away"), ("busy/away", "busy/app")] {
        bench.rename(from, to);
        watcher.obey(Request { group: GroupId(0), known: None });
    }
    watcher.touched();
    bench.put("busy/another", "x");
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&watcher.inotify, PollFlags::IN)], Some(&now)), Ok(0), "it would wake");
    bench.rename("busy", "elsewhere");
    assert_eq!(watcher.touched(), [0]);
}

#[test]
fn when_events_are_lost_everything_is_looked_at() {
    let bench = Bench::new(&[]);
    bench.put("server", "one");
    let (folder, program) = (&bench.folder, bench.at("server"));
    let (_, mut watcher) = watcher(&[vec![program.clone()], vec![program]]);
    watcher.obey(Request { group: GroupId(0), known: None });
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    for _ in 0..most.trim().parse::<u32>().unwrap() / 2 + 10 {
        File::create(folder.join("another, whose name is long")).unwrap();
        fs::remove_file(folder.join("another, whose name is long")).unwrap();
    }
    let touched: Vec<usize> = (0..10).flat_map(|_| watcher.touched()).collect();
    assert_eq!(touched, [0], "the one that is watched");
}

#[test]
fn a_change_that_the_kernel_does_not_tell_of_has_not_settled_either() {
    let bench = Bench::new(&[]);
    bench.put("server", "one");
    let (desk, mut watcher) = watcher(&[vec![bench.at("server")]]);
    watcher.obey(Request { group: GroupId(0), known: Some(1) });
    // The event is not taken, as if there were none.
    bench.replace("server", "two");
    watcher.judge(0);
    assert_eq!(desk.take(), []);
    watcher.judge(0);
    assert_eq!(desk.take().len(), 1);
}

#[test]
fn what_is_watched_no_longer_is_given_back() {
    let bench = Bench::new(&[]);
    for release in ["1", "2"] {
        bench.put(&format!("{release}/deep/down/server"), release);
    }
    bench.link("current", "1");
    let (_, mut watcher) = watcher(&[vec![bench.at("current/deep/down/server")]]);
    let fdinfo = format!("/proc/self/fdinfo/{}", watcher.inotify.as_raw_fd());
    let watches = || fs::read_to_string(&fdinfo).unwrap().matches("inotify wd:").count();
    watcher.obey(Request { group: GroupId(0), known: None });
    let before = watches();
    assert!(before >= 5, "the folders and the file: {before}");
    for release in ["2", "1", "2", "1"] {
        bench.switch("current", release);
        watcher.obey(Request { group: GroupId(0), known: None });
        assert_eq!(watches(), before);
    }
}
