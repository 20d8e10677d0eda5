//! Firestarter: starts groups of processes, gives them shared sockets, keeps them running and replaces them while
//! traffic flows. See `ARCHITECTURE.md` for the rooms and what each may do.

mod accounts;
mod api;
mod backups;
mod cli;
mod client;
mod config;
mod daemon;
mod demo;
mod front;
mod init;
mod journal;
mod keeper;
mod logs;
mod nearest;
mod output;
mod place;
mod replay;
mod say;
mod service;
mod start;
mod sys;
mod writer;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = start::resume::resume() {
        return ExitCode::from(code);
    }
    let code = match cli::main(std::env::args_os().skip(1)) {
        cli::Next::Exit(code) => code,
        cli::Next::Run { config, socket, exit_when } => start::run(config, socket, exit_when),
        cli::Next::Check { config } => start::check(config),
        cli::Next::Init { config, command } => init::run(config, &command),
        cli::Next::Einhorn { args } => serve(front::einhorn::main(args)),
        cli::Next::CheckHandover => start::resume::check_handover(),
        cli::Next::EinhornSocket { args } => front::einhorn::socket(&args),
        cli::Next::StartServer { args } => serve(front::server_starter::main(args)),
        cli::Next::Logs { order, config, no_daemon } => start::read_logs(&order, config, &no_daemon),
        cli::Next::Replay(replay) => replay::run(&replay),
        cli::Next::Demo => demo::main(),
        cli::Next::DemoWorker { args } => demo::worker::main(&args),
    };
    ExitCode::from(code)
}

fn serve(next: front::Next) -> u8 {
    match next {
        front::Next::Exit(code) => code,
        front::Next::Serve(served) => start::serve(*served),
    }
}
