//! Runs seeds and says which of them broke a sentence.

use std::io::{self, Write as _};
use std::process::ExitCode;

use sim::{Bug, Failure, Figures, run};

/// What was asked for. A planted bug has its number, from 0.
struct Asked {
    from: u64,
    seeds: u64,
    one: Option<u64>,
    bug: Option<Bug>,
    regressions: Option<String>,
}

const USAGE: &str = "usage: sim [--seeds N] [--from S] [--seed X] [--bug N] [--regressions FILE]";
/// Seeds that failed once, run first.
const REGRESSIONS: &str = include_str!("../regressions.txt");

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let outcome = match asked(std::env::args().skip(1)) {
        Some(Asked { one: Some(seed), bug, .. }) => show(&mut out, seed, bug),
        Some(asked) => all(&mut out, &asked),
        None => writeln!(out, "{USAGE}").map(|()| false),
    };
    if matches!(outcome, Ok(true)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn asked(mut words: impl Iterator<Item = String>) -> Option<Asked> {
    let mut asked = Asked { from: 0, seeds: 10_000, one: None, bug: None, regressions: None };
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--seeds" => asked.seeds = value.parse().ok()?,
            "--from" => asked.from = value.parse().ok()?,
            "--seed" => asked.one = Some(value.parse().ok()?),
            "--bug" => asked.bug = Some(*Bug::ALL.get(value.parse::<usize>().ok()?)?),
            "--regressions" => asked.regressions = Some(value),
            _ => return None,
        }
    }
    Some(asked)
}

/// One seed, with everything that happens in it.
fn show(out: &mut impl io::Write, seed: u64, bug: Option<Bug>) -> io::Result<bool> {
    let (_, failure, trace) = run(seed, bug, true);
    for line in trace {
        writeln!(out, "{line}")?;
    }
    match &failure {
        Some(failure) => say_failure(out, failure)?,
        None => writeln!(out, "seed {seed}: nothing is broken")?,
    }
    Ok(failure.is_none())
}

fn say_failure(out: &mut impl io::Write, failure: &Failure) -> io::Result<()> {
    for sentence in &failure.broken {
        writeln!(out, "seed {}: {sentence}", failure.seed)?;
    }
    writeln!(out, "repeat it: cargo run --release -p sim -- --seed {}", failure.seed)
}

/// The seeds at the beginning of the lines; the rest of a line is a word of why.
fn seeds_of(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

fn all(out: &mut impl io::Write, asked: &Asked) -> io::Result<bool> {
    let once_failed = match &asked.regressions {
        Some(path) => seeds_of(&std::fs::read_to_string(path)?),
        None => seeds_of(REGRESSIONS),
    };
    let mut sum = Figures::default();
    let again = some(out, &once_failed, asked.bug, &mut sum)?;
    writeln!(out, "{} seeds that failed once, {again} failed", once_failed.len())?;
    let (mut failures, mut from) = (0, asked.from);
    for tenth in 1..=10 {
        let to = asked.from.saturating_add(asked.seeds.saturating_mul(tenth) / 10);
        failures += some(out, &(from..to).collect::<Vec<_>>(), asked.bug, &mut sum)?;
        from = to;
        writeln!(out, "{tenth}0 % of {} seeds, {failures} failed", asked.seeds)?;
        out.flush()?;
    }
    let Figures { calls, transfers, crashes, losses, .. } = sum;
    let more: Vec<String> = sum.fields().map(|(name, figure)| format!("{name} {figure}")).into();
    writeln!(out, "{}", more.join(", "))?;
    let seeds = asked.seeds;
    writeln!(
        out,
        "{seeds} seeds, {failures} failed, {calls} calls, {transfers} transfers, {crashes} crashes, {losses} losses"
    )?;
    Ok(failures + again == 0)
}

/// Runs some seeds and returns how many failed.
fn some(out: &mut impl io::Write, seeds: &[u64], bug: Option<Bug>, sum: &mut Figures) -> io::Result<u64> {
    let mut failures = 0;
    for seed in seeds {
        let (figures, failure, _) = run(*seed, bug, false);
        sum.add(&figures);
        if let Some(failure) = failure {
            failures += 1;
            say_failure(out, &failure)?;
        }
    }
    Ok(failures)
}
