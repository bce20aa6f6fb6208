//! The service over a journal and a chain of one claim: what is asked of whom, and what is said when one of them fails.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use alloy_primitives::{Address, U256, address};
use gate::{Answer, Seen, Standing};
use ledger::{BlockRef, Change, Funds};
use protocol::exact::Fields;
use protocol::x402::Version;
use protocol::{ClaimKey, Key, Offer, OfferExtra, Payee};
use serde_json::json;

use super::*;

const PAYER: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const PAYEE: Address = address!("209693Bc6afc0C5328bA36FaF03C514EF312287C");
const NOW_S: u64 = 1_900_000_000;
const CHAIN_TX: B256 = B256::repeat_byte(0xc1);

/// Plays every port; clones share their cells.
#[derive(Clone, Default)]
struct World(Rc<Cells>);

struct Cells {
    record: RefCell<Option<Record>>,
    check: Cell<Check>,
    settlement: Cell<Settlement>,
    /// What the reconciler does while somebody waits.
    meanwhile: Cell<Option<Step>>,
    /// Calls that are left until the journal fails; `None` for never.
    journal_works: Cell<Option<usize>>,
    settled: Cell<usize>,
    verify_local: Cell<bool>,
    standing: Cell<Standing>,
    checked: Cell<Option<Depth>>,
    later: RefCell<Vec<Step>>,
    now_s: Cell<u64>,
}

impl Default for Cells {
    fn default() -> Self {
        let seen = Seen { block: BlockRef { number: 100, hash: B256::ZERO }, balance_atomic: Some(10_000) };
        Self {
            record: RefCell::default(),
            check: Cell::new(Check::Payable(seen)),
            settlement: Cell::new(Settlement::Settled(paid())),
            meanwhile: Cell::default(),
            journal_works: Cell::default(),
            settled: Cell::default(),
            verify_local: Cell::default(),
            standing: Cell::default(),
            checked: Cell::default(),
            later: RefCell::default(),
            now_s: Cell::new(NOW_S),
        }
    }
}

impl World {
    fn journal(&self) -> Result<(), Fault> {
        match self.0.journal_works.get() {
            Some(0) => Err(Fault::untouched(FaultKind::Journal)),
            left => {
                self.0.journal_works.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }

    fn service(&self) -> Service<Self, Self, Self> {
        let tokens = Arc::new(vec![token()]);
        let (journal, facilitator, host) = (self.clone(), self.clone(), self.clone());
        Service { journal, facilitator, host, tokens, verify_local: self.0.verify_local.get(), wait_ms: 1_000 }
    }

    fn step(&self, step: Step) {
        let mut record = self.0.record.borrow_mut();
        if let Some(Ok(Some(change))) = record.as_ref().map(|record| ledger::advance(record, step)) {
            *record = Some(change.record);
        }
    }

    fn state(&self) -> Option<(State, AnswerState)> {
        self.0.record.borrow().as_ref().map(|record| (record.state, record.answer))
    }
}

impl Journal for World {
    async fn recall(&self, key: &ClaimKey) -> Result<Option<Record>, Fault> {
        self.journal()?;
        let record = self.0.record.borrow();
        Ok(record.clone().filter(|record| record.hold.authorization.key == *key))
    }

    async fn reserve(&self, hold: Hold, balance_atomic: Option<u128>, caps: Exposure) -> Result<Reservation, Fault> {
        self.journal()?;
        let funds = Funds { balance_atomic, unsettled_atomic: 0, exposed: Exposure::default(), caps };
        let latest = self.0.record.borrow().clone();
        let reservation = ledger::reserve(latest, None, hold, &funds);
        if let Reservation::Won(Change { record, .. }) = &reservation {
            *self.0.record.borrow_mut() = Some(record.clone());
        }
        Ok(reservation)
    }

    async fn advance(&self, _: HoldId, step: Step) -> Result<Option<Record>, Fault> {
        self.journal()?;
        self.step(step);
        Ok(self.0.record.borrow().clone())
    }

    async fn wait(&self, key: &ClaimKey, _: Until, _: u64) -> Result<Option<Record>, Fault> {
        self.journal()?;
        if let Some(step) = self.0.meanwhile.take() {
            self.step(step);
        }
        self.recall(key).await
    }

    async fn payment(&self, _: HoldId) -> Result<Option<Record>, Fault> {
        self.journal()?;
        Ok(self.0.record.borrow().clone())
    }

    async fn standing(&self, _: Payer) -> Result<Standing, Fault> {
        Ok(self.0.standing.get())
    }

    async fn paid_before(&self, _: Payer, _: B256, _: u64) -> Result<bool, Fault> {
        Ok(false)
    }

    async fn pend(&self, _: HoldId, _: B256) -> Result<(), Fault> {
        Ok(())
    }

    async fn keep_answer(&self, _: HoldId, _: Answer) -> Result<bool, Fault> {
        Ok(false)
    }

    async fn answer(&self, _: HoldId) -> Result<Option<Answer>, Fault> {
        Ok(None)
    }

    async fn picked(&self, _: B256) -> Result<Option<Record>, Fault> {
        Ok(None)
    }
}

impl Facilitator for World {
    async fn check(&self, _: &Proven, depth: Depth) -> Check {
        self.0.checked.set(Some(depth));
        self.0.check.get()
    }

    async fn settle(&self, hold: &Hold) -> Settlement {
        // A gate's start would burn it otherwise; see `recover`.
        assert_eq!(self.state(), Some((State::Open, AnswerState::Kept)), "kept before anything is sent");
        assert_eq!(hold.rail, Rail::Direct);
        self.0.settled.set(self.0.settled.get() + 1);
        if matches!(self.0.settlement.get(), Settlement::Settled(_) | Settlement::Unknown { chain_tx: Some(_) }) {
            self.step(Step::Submit(CHAIN_TX));
        }
        self.0.settlement.get()
    }
}

impl Host for World {
    fn now_ms(&self) -> u64 {
        self.0.now_s.get() * 1_000
    }

    fn entropy(&self) -> [u8; 16] {
        [7; 16]
    }

    fn close(&self, _: Hold, _: gate::Outcome) {
        panic!("a facilitator has no runs to close");
    }

    fn later(&self, _: HoldId, step: Step) {
        self.0.later.borrow_mut().push(step);
    }

    fn later_charge(&self, _: HoldId, _: ledger::ChargeStep) {
        panic!("a facilitator has no balances");
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn token() -> AssetInfo {
    AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap()
}

fn payer() -> Payer {
    use protocol::Signer as _;
    Payer(Key::from_hex(PAYER).unwrap().address())
}

fn paid() -> Settled {
    let amount = protocol::Amount::new(10_000, token().asset);
    Settled { chain_tx: CHAIN_TX, block: 104, block_hash: B256::repeat_byte(4), amount, payer: payer() }
}

/// A payment that is as it should be, with a nonce of its own.
fn asked(nonce: u8) -> Asked {
    let fields = Fields {
        from: payer().0,
        to: PAYEE,
        value: U256::from(10_000),
        valid_after: U256::ZERO,
        valid_before: U256::from(NOW_S + 60),
        nonce: B256::repeat_byte(nonce),
    };
    let (asset_info, extra) = (token(), OfferExtra::default());
    let offer = Offer { asset_info, amount_atomic: 10_000, payee: Payee(PAYEE), max_timeout_s: 60, extra };
    let signature = Key::from_hex(PAYER).unwrap().sign_now(fields.digest(&token())).unwrap();
    let payload = Credential::to_json(Version::V2, &offer, "https://a.example/", &fields, &signature).unwrap();
    let requirements = payload["accepted"].clone();
    let body = json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": requirements });
    Asked::parse(body.to_string().as_bytes()).unwrap()
}

#[test]
fn a_settlement_and_its_repeats() {
    let world = World::default();
    let (service, asked) = (world.service(), asked(1));
    assert_eq!(now(service.verify(&asked)), Verdict::Valid(payer()));
    assert_eq!(now(service.settle(&asked)), Outcome::Settled(paid()));
    assert_eq!(world.state(), Some((State::Posted(paid()), AnswerState::Kept)));
    // Also long after its validity has ended.
    world.0.now_s.set(NOW_S + 1_000_000);
    assert_eq!(now(service.settle(&asked)), Outcome::SettledBefore(paid()));
    assert_eq!(world.0.settled.get(), 1);
    let used = Verdict::Refused(Refusal::ValidBeforeTooSoon, payer());
    assert_eq!(now(service.verify(&asked)), used);
    world.0.now_s.set(NOW_S);
    assert_eq!(now(service.verify(&asked)), Verdict::Refused(Refusal::NonceAlreadyUsed, payer()));
}

#[test]
fn the_same_nonce_with_other_words_is_another_payment() {
    let world = World::default();
    let service = world.service();
    now(service.settle(&asked(1)));
    let mut other = asked(1);
    other.credential.fields.valid_before += U256::from(1);
    let signature = Key::from_hex(PAYER).unwrap().sign_now(other.credential.fields.digest(&token())).unwrap();
    other.credential.signature = signature.as_bytes().to_vec();
    world.0.check.set(Check::Refused(Refusal::NonceAlreadyUsed));
    assert_eq!(now(service.settle(&other)), Outcome::Refused(Refusal::NonceAlreadyUsed, payer()));
    // The chain has not heard of it yet: the journal has.
    world.0.check.set(Cells::default().check.get());
    assert_eq!(now(service.settle(&other)), Outcome::Refused(Refusal::NonceAlreadyUsed, payer()));
    other.credential.signature[3] ^= 1;
    assert_eq!(now(service.settle(&other)), Outcome::Refused(Refusal::Signature, payer()));
    assert_eq!(world.0.settled.get(), 1);
}

#[test]
fn what_is_not_known_is_pending_until_the_reconciler_says() {
    let world = World::default();
    let (service, asked) = (world.service(), asked(1));
    world.0.settlement.set(Settlement::Unknown { chain_tx: Some(CHAIN_TX) });
    assert_eq!(now(service.settle(&asked)), Outcome::Pending(payer(), Some(CHAIN_TX)));
    assert_eq!(now(service.settle(&asked)), Outcome::Pending(payer(), Some(CHAIN_TX)));
    assert_eq!(now(service.verify(&asked)), Verdict::Refused(Refusal::NonceAlreadyUsed, payer()));
    world.0.meanwhile.set(Some(Step::Post(paid())));
    assert_eq!(now(service.settle(&asked)), Outcome::SettledBefore(paid()));
    assert_eq!(world.0.settled.get(), 1);
}

/// The reconciler took it up first: its word is waited for.
#[test]
fn somebody_else_is_settling_it() {
    let world = World::default();
    world.0.settlement.set(Settlement::Unknown { chain_tx: None });
    world.0.meanwhile.set(Some(Step::Post(paid())));
    assert_eq!(now(world.service().settle(&asked(1))), Outcome::SettledBefore(paid()));
}

#[test]
fn how_a_claim_can_end() {
    let ends: [(&[Step], Refusal); 4] = [
        (&[Step::Submit(CHAIN_TX), Step::Refuse(LossReason::Gone)], Refusal::TransactionFailed),
        (&[Step::Submit(CHAIN_TX), Step::Expire], Refusal::ValidBeforeTooSoon),
        (&[Step::Burn(BurnReason::ForeignTransfer)], Refusal::NonceAlreadyUsed),
        (&[Step::Submit(CHAIN_TX), Step::Refuse(LossReason::Gone), Step::Arrive(paid())], Refusal::NonceAlreadyUsed),
    ];
    for (steps, refusal) in ends {
        let world = World::default();
        world.0.settlement.set(Settlement::Unknown { chain_tx: None });
        let (service, asked) = (world.service(), asked(1));
        assert_eq!(now(service.settle(&asked)), Outcome::Pending(payer(), None));
        steps.iter().for_each(|step| world.step(*step));
        assert_eq!(now(service.settle(&asked)), Outcome::Refused(refusal, payer()), "{steps:?}");
    }
    let world = World::default();
    world.0.settlement.set(Settlement::Refused(Refusal::InsufficientBalance));
    let asked = asked(1);
    assert_eq!(now(world.service().settle(&asked)), Outcome::Refused(Refusal::InsufficientBalance, payer()));
    assert_eq!(world.state().map(|(state, _)| state), Some(State::Burnt(BurnReason::SettlementRefused)));
}

#[test]
fn who_is_verified_without_a_look_at_the_chain() {
    let new = Standing::default();
    let (good, bad) = (Standing { settled: true, risky: false }, Standing { settled: true, risky: true });
    for (verify_local, standing, want) in
        [(false, good, Depth::Chain), (true, new, Depth::Chain), (true, good, Depth::Local), (true, bad, Depth::Chain)]
    {
        let world = World::default();
        world.0.verify_local.set(verify_local);
        world.0.standing.set(standing);
        assert_eq!(now(world.service().verify(&asked(1))), Verdict::Valid(payer()));
        assert_eq!(world.0.checked.get(), Some(want), "{verify_local} {standing:?}");
        // Before money moves the chain is always asked.
        now(world.service().settle(&asked(2)));
        assert_eq!(world.0.checked.get(), Some(Depth::Chain));
    }
}

#[test]
fn nobody_can_say_now() {
    let world = World::default();
    let node = Fault::untouched(FaultKind::Node);
    world.0.check.set(Check::Fault(node));
    assert_eq!(now(world.service().verify(&asked(1))), Verdict::Fault(node));
    assert_eq!(now(world.service().settle(&asked(1))), Outcome::Fault(node));
    assert_eq!(world.state(), None);
}

/// The journal fails at each of its calls in turn. Nothing is sent that is not kept, and what has moved is said.
#[test]
fn a_journal_that_fails() {
    let journal = |money| Fault { kind: FaultKind::Journal, money };
    let wants = [
        (Outcome::Fault(journal(MoneyState::Untouched)), 0, None),
        (Outcome::Fault(journal(MoneyState::Unknown)), 0, Some(Step::KeepAnswer)),
        (Outcome::Fault(journal(MoneyState::Held)), 0, Some(Step::KeepAnswer)),
        (Outcome::Settled(paid()), 1, Some(Step::Post(paid()))),
        (Outcome::Settled(paid()), 1, None),
    ];
    for (works, (want, settled, later)) in wants.into_iter().enumerate() {
        let world = World::default();
        world.0.journal_works.set(Some(works));
        assert_eq!(now(world.service().settle(&asked(1))), want, "{works}");
        assert_eq!(world.0.settled.get(), settled, "{works}");
        assert_eq!(world.0.later.borrow().first().copied(), later, "{works}");
    }
}
