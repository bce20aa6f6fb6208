//! A steady load of free and paid calls, while the gate reloads or stops.

use super::*;

use alloy_primitives::B256;
use kit::try_request;

/// Lets this process, and those that it starts, have so many descriptors, as far as the hard limit goes.
pub(crate) fn raise_descriptors(count: u64) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let words: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    let (soft, hard) = (words[3], words[4]);
    if soft.parse::<u64>().is_ok_and(|soft| soft < count + 1_000) {
        let raised = std::process::Command::new("prlimit")
            .args(["--pid", &std::process::id().to_string(), &format!("--nofile={hard}:{hard}")])
            .status();
        assert!(
            raised.is_ok_and(|status| status.success()),
            "{soft} descriptors are too few, and prlimit is not there"
        );
    }
}

/// What became of one paid call.
struct Paid {
    nonce: B256,
    /// `None` when the connection was refused or broken off.
    answer: Option<Answer>,
}

/// What the load came to.
#[derive(Default)]
struct Tally {
    free: usize,
    paid: Vec<Paid>,
    odd: Vec<String>,
}

impl Ground {
    /// Calls until it is told to stop, or until nobody listens any more, where that is expected.
    fn load(&self, path: &str, over: &AtomicBool, may_end: bool) -> Tally {
        let mut tally = Tally::default();
        let url = self.url(path);
        while !over.load(Ordering::Relaxed) {
            let asked = try_request("GET", &url, &[], b"");
            let Ok(asked) = asked else {
                if !may_end {
                    tally.odd.push(format!("{path}: {asked:?}"));
                }
                break;
            };
            match (path.starts_with("/free/"), asked.status) {
                (true, 200) if asked.text() == "served" => tally.free += 1,
                (false, 402) => {
                    let challenge = protocol::x402::Challenge::parse_v2(asked.headers["payment-required"].as_bytes());
                    let (header, nonce) = self.payer.payment(&challenge.unwrap().offers[0]);
                    let answer = try_request("GET", &url, &[("payment-signature", &header)], b"").ok();
                    let served = answer.as_ref().is_some_and(|answer| {
                        answer.status == 200 && answer.text() == "served" && answer.receipt()["success"] == true
                    });
                    if !served && !may_end {
                        tally.odd.push(format!("{path}: {answer:?}"));
                    }
                    tally.paid.push(Paid { nonce, answer });
                }
                _ => tally.odd.push(format!("{path}: {} {}", asked.status, asked.text())),
            }
        }
        tally
    }

    /// Puts the load on while something is done to the gate.
    fn under_load(&self, may_end: bool, act: impl FnOnce(&dyn Fn() -> usize)) -> Tally {
        let over = AtomicBool::new(false);
        let paths = ["/free/ok", "/free/ok", "/direct/ok", "/tab/ok", "/tab/ok"];
        thread::scope(|scope| {
            let callers: Vec<_> = paths.map(|path| scope.spawn(|| self.load(path, &over, may_end))).into();
            let books = Books::open(self.gate.journal());
            // What has been paid for so far: whoever waits for more of it waits for the load, not for time.
            act(&|| books.claims().len());
            over.store(true, Ordering::Relaxed);
            let mut sum = Tally::default();
            for caller in callers {
                let tally = caller.join().unwrap();
                sum.free += tally.free;
                sum.paid.extend(tally.paid);
                sum.odd.extend(tally.odd);
            }
            sum
        })
    }

    fn is_used(&self, nonce: B256) -> bool {
        self.chain.authorization_state(PAYER.address, &nonce.to_string()).unwrap()
    }
}

#[test]
fn a_reload_under_load_drops_nothing() {
    let ground = Ground::new();
    let tally = ground.under_load(false, |paid| {
        for (count, (from, to)) in [("0.01", "0.02"), ("0.02", "0.005"), ("0.005", "0.03")].into_iter().enumerate() {
            let before = paid();
            until("the load goes on", || paid() >= before + 10);
            ground.gate.rewrite(&format!("price: \"{from}\""), &format!("price: \"{to}\""));
            ground.gate.ask_to_reload();
            until("it is reloaded", || {
                ground.gate.log().matches("the configuration was reloaded").count() == count + 1
            });
        }
        let before = paid();
        until("the load goes on", || paid() >= before + 10);
    });
    assert!(tally.odd.is_empty(), "{:#?}", tally.odd);
    assert!(tally.free >= 20 && tally.paid.len() >= 40, "{} free, {} paid", tally.free, tally.paid.len());
    ground.agree();
    for paid in &tally.paid {
        assert!(ground.is_used(paid.nonce), "served and never settled");
    }
    let mut prices: Vec<_> =
        tally.paid.iter().map(|paid| paid.answer.as_ref().unwrap().receipt()["amount"].to_string()).collect();
    prices.sort();
    prices.dedup();
    assert_eq!(prices.len(), 4, "each price was paid: {prices:?}");
}

#[test]
fn a_stop_under_load_loses_nothing() {
    let mut ground = Ground::new();
    let tally = ground.under_load(true, |paid| {
        until("the load has begun", || paid() >= 20);
        ground.gate.ask_to_stop();
        until("it is stopping", || ground.gate.log().contains("stopping"));
        until("nobody listens any more", || {
            TcpStream::connect(ground.gate.url().trim_start_matches("http://")).is_err()
        });
    });
    assert!(ground.gate.ended().success());
    let log = ground.gate.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    // What is on the tab was submitted at the stop; the next start books what landed.
    ground.gate.restart();
    ground.agree();
    let mut served = 0;
    for paid in &tally.paid {
        match &paid.answer {
            Some(answer) if answer.status == 200 => {
                assert_eq!((answer.text().as_str(), &answer.receipt()["success"]), ("served", &true.into()));
                assert!(ground.is_used(paid.nonce), "served and never settled");
                served += 1;
            }
            other => assert!(!ground.is_used(paid.nonce), "it moved for {other:?}"),
        }
    }
    assert!(served >= 20 && tally.odd.is_empty(), "{served} served, {:#?}", tally.odd);
    let posted = Books::open(ground.gate.journal()).holds("posted");
    assert_eq!((posted, ground.paid()), (served, served as u128 * kit::PRICE));
}
