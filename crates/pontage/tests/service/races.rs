//! Many at once, answers that are lost, and ends of the process: each payment moves once, and the same is said about it for ever.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use protocol::x402::Version;
use serde_json::Value;
use xtask::chain::{Chain, ChainOptions};

use crate::kit::{
    Answer, Bent, FUNDS, Link, PAYEE, PAYER, PRICE, Payer, Service, Way, asked, fresh, post, start_chain, try_request,
    until, wanted,
};

fn chain(options: ChainOptions) -> Chain {
    let chain = start_chain(options);
    chain.plant_token().unwrap();
    chain.mint(PAYER.address, FUNDS).unwrap();
    chain
}

/// The transaction that an answer names, which must say that it settled.
fn settled(answer: &Answer) -> String {
    let json = answer.json();
    assert_eq!((answer.status, &json["success"]), (200, &true.into()), "{}", answer.text());
    assert_eq!((&json["network"], &json["amount"]), (&"eip155:84532".into(), &PRICE.to_string().into()));
    json["transaction"].as_str().unwrap().to_owned()
}

/// Books and chain say that so many payments were settled, and nothing else.
fn agree(service: &Service, chain: &Chain, count: usize) {
    let books = service.books();
    until("every claim ends", || books.unfinished() == 0);
    assert_eq!((books.holds("posted"), books.unbalanced()), (count, 0));
    let moved: BTreeSet<_> = chain.transfers_to(PAYEE).unwrap().into_iter().map(|transfer| transfer.chain_tx).collect();
    assert_eq!(moved, books.posted_chain_txs().into_iter().collect());
    assert_eq!(moved.len(), count);
    assert_eq!(chain.balance(PAYEE).unwrap(), PRICE * u128::try_from(count).unwrap());
}

#[test]
fn twelve_identical_settles_at_once() {
    for mining in [ChainOptions::default(), ChainOptions { block_time_s: Some(1), ..ChainOptions::default() }] {
        let chain = chain(mining);
        let service = Service::start(chain.rpc_url());
        let payer = Payer::new(PAYER);
        let fields = payer.fields(&wanted());
        // v1 and v2 sign the same bytes.
        let bodies = [asked(&payer, Version::V2, &fields), asked(&payer, Version::V1, &fields)];
        let start = Barrier::new(12);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let calls: Vec<_> = (0..12)
                .map(|at| {
                    let (start, service, body) = (&start, &service, &bodies[at % 2]);
                    scope.spawn(move || {
                        start.wait();
                        service.settle(body)
                    })
                })
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        let said: BTreeSet<_> = answers.iter().map(|answer| answer.json()["transaction"].to_string()).collect();
        assert_eq!(said.len(), 1, "one answer: {said:?}");
        assert!(answers.iter().all(|answer| answer.json()["success"] == true), "{said:?}");
        // One of them has made the transfer, the others are told so.
        let first = answers.iter().filter(|answer| answer.json()["extra"]["settled"] != "before").count();
        assert_eq!(first, 1);
        agree(&service, &chain, 1);
        // What was settled is not good once more.
        let verdict = service.verify(&bodies[0]).json();
        assert_eq!(verdict["invalidReason"], "invalid_exact_evm_nonce_already_used");
    }
}

#[test]
fn two_hundred_distinct_settles_32_wide() {
    let chain = chain(ChainOptions::default());
    let service = Service::start(chain.rpc_url());
    let payer = Payer::new(PAYER);
    let bodies: Vec<Value> = (0..200).map(|_| fresh(&payer)).collect();
    let next = AtomicUsize::new(0);
    let settled: BTreeSet<String> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..32)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                        done.push(settled(&service.settle(body)));
                    }
                    done
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    assert_eq!(settled.len(), 200);
    agree(&service, &chain, 200);
}

/// The first answer never arrives. The repeat is told of the same transaction, also by a process that was started since.
#[test]
fn an_answer_that_is_lost() {
    let chain = chain(ChainOptions::default());
    let mut service = Service::start(chain.rpc_url());
    let payer = Payer::new(PAYER);
    let body = fresh(&payer);
    // Whoever asks is cut off while it is settled.
    let wire = Link::to(service.url());
    thread::scope(|scope| {
        let lost = scope.spawn(|| try_post(wire.url(), &body));
        until("it is claimed", || service.books().claims().len() == 1);
        wire.cut();
        assert!(lost.join().unwrap().is_none_or(|answer| answer.json()["success"] == true));
    });
    let first = settled(&service.settle(&body));
    assert_eq!(settled(&service.settle(&body)), first);
    service.kill_and_restart();
    assert_eq!(settled(&service.settle(&body)), first);
    let mut v1 = asked(&payer, Version::V1, &payer.fields(&wanted()));
    v1["paymentPayload"]["payload"] = body["paymentPayload"]["payload"].clone();
    let answer = service.settle(&v1).json();
    assert_eq!((&answer["network"], &answer["transaction"]), (&"base-sepolia".into(), &first.clone().into()));
    // The same authorization for another payee is another question.
    let mut other = body.clone();
    other["paymentRequirements"]["payTo"] = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".into();
    assert_eq!(service.settle(&other).json()["errorReason"], "invalid_exact_evm_recipient_mismatch");
    agree(&service, &chain, 1);
}

fn try_post(url: &str, body: &Value) -> Option<Answer> {
    let bearer = format!("Bearer {}", crate::kit::TOKEN);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    try_request("POST", &format!("{url}/settle"), &headers, body.to_string().as_bytes()).ok()
}

/// Nothing is mined for a while: pending with the hash, which is no reason to pay again; then the same transaction is settled.
#[test]
fn pending_is_said_with_its_hash() {
    let chain = chain(ChainOptions::default());
    chain.set_automine(false).unwrap();
    let service = Service::start(chain.rpc_url());
    let body = fresh(&Payer::new(PAYER));
    let answer = service.settle(&body).json();
    assert_eq!((&answer["success"], &answer["errorReason"]), (&false.into(), &"settlement_pending".into()), "{answer}");
    let pending = answer["transaction"].as_str().unwrap().to_owned();
    assert_eq!(pending.len(), 66);
    chain.mine().unwrap();
    // One that was not mined for long is outbid: then another hash has landed, for the same authorization.
    let landed = settled(&service.settle(&body));
    assert_eq!(landed, chain.transfers_to(PAYEE).unwrap()[0].chain_tx);
    agree(&service, &chain, 1);
}

/// The node takes each transaction, and its answer to that never arrives: what was sent counts as sent.
#[test]
fn the_nodes_answer_is_lost_after_the_broadcast() {
    let chain = chain(ChainOptions::default());
    let bent = Bent::before(chain.rpc_url());
    let mut service = Service::start(bent.url());
    bent.be(Way::Losing);
    let payer = Payer::new(PAYER);
    let bodies: Vec<Value> = (0..3).map(|_| fresh(&payer)).collect();
    let first: Vec<_> = bodies.iter().map(|body| settled(&service.settle(body))).collect();
    // Also where the process ends before it could read a receipt.
    chain.set_automine(false).unwrap();
    let last = fresh(&payer);
    thread::scope(|scope| {
        let url = service.url().to_owned();
        let asked = &last;
        let call = scope.spawn(move || try_post(&url, asked));
        until("it is submitted", || service.books().holds("submitted") == 1);
        service.kill();
        drop(call.join().unwrap());
    });
    chain.set_automine(true).unwrap();
    chain.mine().unwrap();
    service.kill_and_restart();
    let fourth = settled(&service.settle(&last));
    assert!(!first.contains(&fourth));
    agree(&service, &chain, 4);
}

/// The node is away: nobody says that a payment is bad.
#[test]
fn cannot_verify_now_is_no_verdict() {
    let chain = chain(ChainOptions::default());
    let wire = Link::to(chain.rpc_url());
    let service = Service::start(wire.url());
    let body = fresh(&Payer::new(PAYER));
    wire.cut();
    for path in ["/verify", "/settle"] {
        let answer = post(service.url(), path, &body);
        assert_eq!((answer.status, answer.error().as_str()), (503, "chain_unavailable"), "{}", answer.text());
        assert!(answer.headers["retry-after"].parse::<u32>().is_ok_and(|seconds| seconds > 0));
        assert!(answer.json().get("isValid").is_none() && answer.json().get("success").is_none());
        assert_eq!(answer.money(), "untouched");
    }
    wire.mend();
    settled(&service.settle(&body));
    agree(&service, &chain, 1);
}

/// The process is killed at 20 moments while ten payments are settled, each time started again; who repeats is told the truth.
#[test]
fn killed_while_it_settles() {
    let chain = chain(ChainOptions { block_time_s: Some(1), ..ChainOptions::default() });
    let mut service = Service::start(chain.rpc_url());
    let payer = Payer::new(PAYER);
    let mut all = Vec::new();
    for round in 0..20u64 {
        let bodies: Vec<Value> = (0..10).map(|_| fresh(&payer)).collect();
        let url = service.url().to_owned();
        let said: Vec<Option<String>> = thread::scope(|scope| {
            let calls: Vec<_> = bodies
                .iter()
                .map(|body| {
                    let url = &url;
                    scope.spawn(move || {
                        let answer = try_post(url, body)?.json();
                        (answer["success"] == true).then(|| answer["transaction"].as_str().unwrap().to_owned())
                    })
                })
                .collect();
            service.kill_after(Duration::from_millis(round * 37));
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        for (body, said) in bodies.into_iter().zip(said) {
            let now = settled(&service.settle(&body));
            assert!(said.is_none_or(|said| said == now));
            all.push(now);
        }
    }
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "a transaction for each");
    agree(&service, &chain, all.len());
}

/// Told to stop, it settles what it has begun.
#[test]
fn a_stop_lets_settlements_end() {
    let chain = chain(ChainOptions { block_time_s: Some(1), ..ChainOptions::default() });
    let mut service = Service::start(chain.rpc_url());
    let payer = Payer::new(PAYER);
    let bodies: Vec<Value> = (0..8).map(|_| fresh(&payer)).collect();
    let url = service.url().to_owned();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let calls: Vec<_> =
            bodies.iter().map(|body| scope.spawn(|| try_post(&url, body).expect("an answer"))).collect();
        until("all are claimed", || service.books().claims().len() == 8);
        assert!(service.stop().success());
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    answers.iter().for_each(|answer| drop(settled(answer)));
    agree(&service, &chain, 8);
}
