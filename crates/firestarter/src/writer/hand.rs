//! A thread that writes: takes what is next from the board, gives the sink a turn, puts it back. It alone waits for disks.

use super::board::{Board, Job, Task};
use super::sink::{Scratch, Turn};

/// Hires a hand. Called with the board unlocked; whoever calls has counted it already.
///
/// # Errors
/// No memory, or no room for another thread.
pub(super) fn hire(board: &'static Board) -> std::io::Result<()> {
    std::thread::Builder::new().name("firestarter-log".to_owned()).spawn(move || work(board)).map(|_| ())
}

fn work(board: &'static Board) {
    let mut scratch = Scratch::default();
    while let Some(first) = board.take() {
        let mut next = Some(first);
        while let Some(mut task) = next {
            let turn = attend(&mut task, &mut scratch);
            next = board.put_back(task, turn);
        }
        scratch.shrink();
    }
}

/// One turn at a sink.
pub(super) fn attend(task: &mut Task, scratch: &mut Scratch) -> Turn {
    match &task.job {
        Job::Reopen => task.sink.reopen(),
        Job::Write(_, work) => task.sink.turn(work, scratch),
    }
}
