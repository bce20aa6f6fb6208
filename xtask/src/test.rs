//! `cargo xtask test`: runs every suite, counts, and ends with the line `N passed, N failed`. What could not run has failed.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::suite::{self, Count, Suite, Work};

/// How long a process that outlives its suite may hold the suite's output.
const LINGER: Duration = Duration::from_secs(5);

/// Runs the suites of `root`, or only the quick ones, and prints the table.
pub(crate) fn run(root: &Path, quick: bool) -> ExitCode {
    let mut done: Vec<(&str, Tally, Duration)> = Vec::new();
    let mut broken_by = None;
    let suites = suite::all(root);
    for suite in suites.iter().filter(|suite| suite.quick || !quick) {
        let begun = Instant::now();
        let tally = match broken_by {
            Some(earlier) => Tally::fail(format!("not run: {earlier} found that the code does not compile")),
            None => {
                println!("\n=== {}", suite.name);
                run_suite(root, suite).unwrap_or_else(|error| Tally::fail(format!("could not run: {error:#}")))
            }
        };
        if tally.broken && broken_by.is_none() {
            broken_by = Some(suite.name);
        }
        done.push((suite.name, tally, begun.elapsed()));
    }
    let failed = done.iter().map(|(_, tally, _)| tally.failed).sum::<u64>();
    println!("\n{}", report(&done));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a suite came to. Every failure that the output does not explain by itself has a line in `why`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    why: Vec<String>,
    /// The code does not compile, so no later suite can say more.
    broken: bool,
}

impl Tally {
    fn fail(why: String) -> Self {
        Self { failed: 1, why: vec![why], ..Self::default() }
    }

    fn add_failure(&mut self, count: u64, why: String) {
        self.failed += count;
        self.why.push(why);
    }
}

/// What one command left behind.
struct Ran {
    success: bool,
    /// How it ended, in words.
    ended: String,
    output: String,
    /// A process it started still holds its output.
    lingers: bool,
}

fn run_suite(root: &Path, suite: &Suite) -> Result<Tally> {
    let commands = match &suite.work {
        Work::Here(check) => {
            return Ok(match check(root) {
                Ok(()) => Tally { passed: 1, ..Tally::default() },
                Err(error) => Tally::fail(format!("{error:#}")),
            });
        }
        Work::Commands(commands) => commands(root)?,
    };
    let mut ran = Vec::new();
    for mut command in commands {
        ran.push(tee(&mut command).with_context(|| format!("{command:?}"))?);
    }
    let mut tally = match suite.count {
        Count::Check => count_check(&ran),
        Count::Tests => count_tests(&ran),
    };
    let says_broken = |ran: &Ran| suite.broken_build.is_some_and(|sign| !ran.success && ran.output.contains(sign));
    tally.broken = ran.iter().any(says_broken);
    if ran.iter().any(|ran| ran.lingers) {
        tally.add_failure(1, "a process that it started did not end with it".into());
    }
    Ok(tally)
}

fn count_check(ran: &[Ran]) -> Tally {
    match ran.iter().find(|ran| !ran.success) {
        Some(ran) => Tally::fail(ran.ended.clone()),
        None => Tally { passed: 1, ..Tally::default() },
    }
}

/// Sums cargo's summaries. A skipped test, a test binary that died without a summary, and a suite without one test are failures.
fn count_tests(ran: &[Ran]) -> Tally {
    let mut tally = Tally::default();
    for ran in ran {
        let before = tally.failed;
        for line in ran.output.lines() {
            if let Some(summary) = line.strip_prefix("test result: ") {
                tally.passed += number_before(summary, "passed");
                tally.failed += number_before(summary, "failed");
                let skipped = number_before(summary, "ignored");
                if skipped > 0 {
                    tally.add_failure(skipped, format!("{skipped} skipped: skipped tests are not allowed"));
                }
            } else if line.contains("process didn't exit successfully") && line.contains("(signal:") {
                tally.add_failure(1, line.trim().to_owned());
            }
        }
        if !ran.success && tally.failed == before {
            tally.add_failure(1, ran.ended.clone());
        }
    }
    if tally.passed + tally.failed == 0 {
        tally.add_failure(1, "no test ran".into());
    }
    tally
}

/// The 12 of `ok. 12 passed; 0 failed`, asked for `passed`.
fn number_before(summary: &str, word: &str) -> u64 {
    let words: Vec<&str> = summary.split([' ', ';']).collect();
    let number = words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok());
    number.unwrap_or_default()
}

fn report(done: &[(&str, Tally, Duration)]) -> String {
    let mut text = format!("{:<12} {:>7} {:>7} {:>9}\n", "suite", "passed", "failed", "seconds");
    for (name, tally, took) in done {
        text += &format!("{name:<12} {:>7} {:>7} {:>9.1}\n", tally.passed, tally.failed, took.as_secs_f64());
    }
    for (name, tally, _) in done {
        for why in &tally.why {
            text += &format!("{name}: {why}\n");
        }
    }
    let sum = |part: fn(&Tally) -> u64| done.iter().map(|(_, tally, _)| part(tally)).sum::<u64>();
    text + &format!("{} passed, {} failed", sum(|tally| tally.passed), sum(|tally| tally.failed))
}

enum Piece {
    Out(Vec<u8>),
    Err(Vec<u8>),
}

/// Runs `command`; what it prints goes to the terminal line by line, and is kept.
fn tee(command: &mut Command) -> Result<Ran> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (sender, pieces) = channel();
    forward(child.stdout.take().context("its output")?, sender.clone(), Piece::Out);
    forward(child.stderr.take().context("its errors")?, sender, Piece::Err);

    let mut output = Vec::new();
    let mut ended: Option<(ExitStatus, Instant)> = None;
    let lingers = loop {
        // Looked at before the pieces, so that what was printed before the end is read after it.
        if ended.is_none() {
            ended = child.try_wait()?.map(|status| (status, Instant::now()));
        }
        let closed = show(&pieces, &mut output)?;
        match ended {
            Some(_) if closed => break false,
            Some((_, at)) if at.elapsed() > LINGER => break true,
            None if closed => ended = Some((child.wait()?, Instant::now())),
            _ => {}
        }
    };
    let (status, _) = ended.context("it has ended")?;
    let output = String::from_utf8_lossy(&output).into_owned();
    Ok(Ran { success: status.success(), ended: status.to_string(), output, lingers })
}

/// Shows one piece, if one comes soon; true once both pipes are closed.
fn show(pieces: &Receiver<Piece>, output: &mut Vec<u8>) -> Result<bool> {
    match pieces.recv_timeout(Duration::from_millis(100)) {
        Ok(Piece::Out(bytes)) => {
            std::io::stdout().write_all(&bytes)?;
            output.extend(bytes);
        }
        Ok(Piece::Err(bytes)) => {
            std::io::stderr().write_all(&bytes)?;
            output.extend(bytes);
        }
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => return Ok(true),
    }
    Ok(false)
}

fn forward(pipe: impl Read + Send + 'static, sender: Sender<Piece>, piece: fn(Vec<u8>) -> Piece) {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            let more = pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0);
            if !more || sender.send(piece(line)).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(success: bool, output: &str) -> Ran {
        Ran { success, ended: "exit status: 101".into(), output: output.into(), lingers: false }
    }

    /// What `script` prints appears among the tests' own lines, so it must end its lines: a summary is
    /// counted only at the beginning of one.
    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn suite(count: Count, broken_build: Option<&'static str>, work: fn(&Path) -> Result<Vec<Command>>) -> Suite {
        Suite { name: "s", quick: false, count, broken_build, work: Work::Commands(work) }
    }

    #[test]
    fn summaries_are_summed_and_nothing_is_passed_over() {
        let good = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        let bad = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        let skipped = "test result: ok. 1 passed; 0 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        let died = "  process didn't exit successfully: `a-1` (signal: 6, SIGABRT: process abort signal)\n";
        for (name, runs, passed, failed, reasons) in [
            ("two binaries", vec![ran(true, &good.repeat(2))], 24, 0, 0),
            ("a failed test", vec![ran(false, bad), ran(true, good)], 15, 2, 0),
            ("a skipped test", vec![ran(true, skipped)], 1, 4, 1),
            ("a dead binary", vec![ran(false, &format!("{bad}{died}"))], 3, 3, 1),
            ("does not compile", vec![ran(false, "error: could not compile"), ran(true, good)], 12, 1, 1),
            ("no test", vec![ran(true, "")], 0, 1, 1),
        ] {
            let tally = count_tests(&runs);
            assert_eq!((tally.passed, tally.failed, tally.why.len()), (passed, failed, reasons), "{name}");
        }
        assert_eq!(count_check(&[ran(true, ""), ran(true, "")]).passed, 1);
        assert_eq!(count_check(&[ran(true, ""), ran(false, "")]), Tally::fail("exit status: 101".into()));
    }

    #[test]
    fn a_command_that_cannot_start_is_an_error_and_a_broken_build_is_seen() {
        let here = Path::new(".");
        assert!(run_suite(here, &suite(Count::Check, None, |_| Ok(vec![Command::new("no-such-program")]))).is_err());
        let fails: fn(&Path) -> Result<Vec<Command>> =
            |_| Ok(vec![shell("echo 'error[E0425]: (made up by a test)' >&2; exit 1")]);
        let tally = run_suite(here, &suite(Count::Check, Some("error[E"), fails)).unwrap();
        assert_eq!((tally.failed, tally.broken), (1, true));
        let tally = run_suite(here, &suite(Count::Check, None, fails)).unwrap();
        assert_eq!((tally.failed, tally.broken), (1, false));
        let here_fails = Suite { work: Work::Here(|_| anyhow::bail!("a finding")), ..suite(Count::Check, None, fails) };
        assert_eq!(run_suite(here, &here_fails).unwrap(), Tally::fail("a finding".into()));
    }

    #[test]
    fn output_is_kept_whole() {
        let ran = tee(&mut shell("echo one; echo two >&2; echo three; exit 7")).unwrap();
        assert!(!ran.success && !ran.lingers && ran.ended.contains('7'), "{}", ran.ended);
        for word in ["one", "two", "three"] {
            assert!(ran.output.contains(word), "{word} in {}", ran.output);
        }
    }

    #[test]
    fn the_report_ends_with_the_two_numbers() {
        let done = [
            ("fmt", Tally { passed: 1, ..Tally::default() }, Duration::from_millis(1500)),
            (
                "unit",
                Tally { passed: 11, failed: 2, why: vec!["2 skipped".into()], broken: false },
                Duration::from_secs(3),
            ),
        ];
        let expected = "\
suite         passed  failed   seconds
fmt                1       0       1.5
unit              11       2       3.0
unit: 2 skipped
12 passed, 2 failed";
        assert_eq!(report(&done), expected);
    }
}
