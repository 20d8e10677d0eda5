//! Where the acts play: a Firestarter with its groups, the load, the disks, and what is expected of each. When the test
//! fails, what there is to be known of it is kept: the acts are printed as they come, the daemon's last lines are printed,
//! and its journal and all that it said are put where they are printed to be.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::harness::disk::{run, Disk};
use crate::harness::load::{plain, Kept, Load};
use crate::harness::{pause, proc, worker, Fire, Folder, BIN};

/// Groups that run all the time, with the numbers of their workers at the start.
pub(crate) const STEADY: [(&str, usize); 3] = [("web", 3), ("talk", 2), ("idle", 3)];

/// What a client does between two requests: the load is there to be lost, not to heat the machine.
const REST: Duration = Duration::from_millis(3);

/// What makes an order last (`soak`, `ack_timeout`) is there to give the other acts time to meet it.
const CONFIG: &str = "
[web]
exec_start = ['@DIR@/release', 'keep', 'path']
socket_address = ['127.0.0.1:0']
start_immediate = true
numprocesses = 3
restart = 'always'
ack = 'manual'
start_timeout = '6s'
surge = 1
max_unavailable = 1
soak = '80ms'
backoff_max = '50ms'

[talk]
exec_start = ['@WORKER@', 'lines', '20000', '18446744073709551615']
working_directory = '@DIR@/talk'
numprocesses = 2
restart = 'always'
ack_timeout = '60ms'
backoff_reset = '1ms'
backoff_max = '10ms'
stdout_log = 'size:65536:100000:@DIR@/talk/log'

[idle]
exec_start = ['sleep', '1000000']
numprocesses = 3
restart = 'always'
ack_timeout = '250ms'
backoff_reset = '1ms'
backoff_max = '10ms'

[full]
exec_start = ['@WORKER@', 'lines', '19999', '18446744073709551615']
working_directory = '@DIR@/full'
autostart = false
restart = 'always'
ack_timeout = '10ms'
stdout_log = { path = '@DIR@/full/disk/log', on_overflow = 'drop', line_max = '8KiB' }

[slow]
exec_start = ['@WORKER@', 'lines', '19999', '18446744073709551615']
working_directory = '@DIR@/slow'
autostart = false
restart = 'always'
ack_timeout = '10ms'
stdout_log = '@DIR@/slow/disk/log'
";

pub(crate) struct Stage {
    seed: u64,
    begun: Instant,
    /// Of tmpfs, for the group `full`; none where none can be mounted.
    pub(crate) full: Option<Disk>,
    /// Of a file, for the group `slow`: it can be frozen.
    pub(crate) slow: Option<Disk>,
    pub(crate) load: Option<Load>,
    /// How many workers a group should have.
    pub(crate) counts: Mutex<BTreeMap<&'static str, usize>>,
    /// The longest that `status` took, while nothing happened and right after a daemon's death.
    pub(crate) slowest: Mutex<(Duration, Duration)>,
    pub(crate) fire: Fire,
}

impl Stage {
    pub(crate) fn build(seed: u64) -> Stage {
        let folder = Folder::new();
        for name in ["talk", "full", "slow"] {
            fs::create_dir(folder.join(name)).expect("a folder");
        }
        // Under each name that is executed something is put by a link or a rename: a file that is open for writing cannot
        // be executed, and whoever is forked meanwhile has it open too.
        for name in ["one", "two"] {
            fs::copy(BIN, folder.join(name)).expect("a copy of the program");
        }
        fs::copy(worker(), folder.join("good")).expect("a copy of the worker");
        folder.script("ends", "#!/bin/sh\nexit 3\n");
        folder.script("crashes", "#!/bin/sh\nsleep 0.2\nkill -SEGV $$\n");
        folder.script("hangs", "#!/bin/sh\nexec sleep 1000\n");
        fs::hard_link(folder.join("good"), folder.join("release")).expect("a release");
        let full = Disk::mount(&folder.join("full/disk"), &["-t", "tmpfs", "-o", "size=16m", "none"]);
        let slow = freezable(&folder);
        let fire = Fire::start_in(folder, CONFIG);
        STEADY.iter().for_each(|(name, count)| drop(fire.settled(name, *count)));
        let address = fire.group("web")["listeners"][0]["address"].as_str().and_then(|address| address.parse().ok());
        Stage {
            seed,
            begun: Instant::now(),
            full,
            slow,
            load: Some(load(address.expect("an address"))),
            counts: Mutex::new(STEADY.into_iter().collect()),
            slowest: Mutex::default(),
            fire,
        }
    }

    pub(crate) fn tell(&self, what: &str) {
        println!("{:9.3} {what}", self.begun.elapsed().as_secs_f64());
    }

    pub(crate) fn count(&self, group: &str) -> usize {
        self.counts.lock().expect("no panic")[group]
    }

    pub(crate) fn load(&self) -> &Load {
        self.load.as_ref().expect("it ends with the stage")
    }

    /// The end of a stage on which nothing went wrong.
    pub(crate) fn close(mut self) {
        self.load = None;
        assert_eq!(self.fire.ctl(&["stop"]).code, 0, "{}", self.fire.stderr());
        assert_eq!(self.fire.ended().code(), Some(0), "{}", self.fire.stderr());
        self.fire.nothing_left();
    }

    /// Keeps what tells of a failure in a folder of its own.
    fn keep(&self) {
        let place =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{}-{}", self.seed, std::process::id()));
        let _ = fs::create_dir_all(&place);
        let _ = fs::write(place.join("stderr"), self.fire.stderr());
        let _ = fs::write(place.join("descriptors"), format!("{:#?}", proc::descriptors(self.fire.keeper_pid)));
        let journal = place.join("journal");
        let mut client = self.fire.begin(&["debug", "journal", "-o", journal.to_str().unwrap_or_default()]);
        let begun = Instant::now();
        // A daemon that does not answer must not hold up the news.
        while client.try_wait().is_ok_and(|ended| ended.is_none()) && begun.elapsed() < Duration::from_secs(20) {
            pause();
        }
        let _ = client.kill();
        let _ = client.wait();
        eprintln!("CHAOS_SEED={}: journal and stderr are kept in {}", self.seed, place.display());
        eprintln!("read it: firestarter replay {}", journal.display());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
    }
}

/// Clients that connect for each request, and such that keep their connection.
fn load(address: SocketAddr) -> Load {
    let new = |_| {
        Box::new(move || {
            std::thread::sleep(REST);
            plain(address).map(drop)
        }) as Box<dyn FnMut() -> std::io::Result<()> + Send>
    };
    let kept = |_| {
        let mut kept = Kept::new(address);
        Box::new(move || {
            std::thread::sleep(REST);
            kept.ask()
        }) as Box<dyn FnMut() -> std::io::Result<()> + Send>
    };
    Load::of((0..3).map(new).chain((0..3).map(kept)))
}

/// A disk that can be frozen; none where it cannot be had.
fn freezable(folder: &Folder) -> Option<Disk> {
    let image = folder.join("image");
    fs::File::create(&image).and_then(|file| file.set_len(32 << 20)).expect("an image");
    let path = image.to_str().expect("UTF-8");
    if !run("mkfs.ext4", &["-q", "-F", path]) {
        eprintln!("skipped: no mkfs.ext4, so no slow disk");
        return None;
    }
    let disk = Disk::mount(&folder.join("slow/disk"), &["-o", "loop", path])?;
    let freezes = disk.freeze("-f") && disk.freeze("-u");
    if !freezes {
        eprintln!("skipped: no fsfreeze, so no slow disk");
    }
    freezes.then_some(disk)
}
