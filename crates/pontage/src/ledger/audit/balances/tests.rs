//! One row for each way in which rows and entries can differ; what is found last.

use alloy_primitives::B256;
use ledger::{About, AnswerState, BurnReason, Charge, Draw, HoldId, ReleaseReason, Unit};
use store::LineRow;

use super::*;

const KEY: KeyId = KeyId([1; 16]);
const OTHER: KeyId = KeyId([2; 16]);
const GRANT: GrantId = GrantId([3; 16]);
const CHARGE: HoldId = HoldId([4; 16]);

/// Everything that an audit reads of one account.
struct Rows {
    account: AccountRow,
    grant: Grant,
    charge: ChargeRecord,
    entries: Vec<EntryRow>,
    /// What other accounts have from it.
    given: u64,
}

fn entry(id: u64, about: About, kind: &str, (from, to): (&str, &str), units: u64) -> EntryRow {
    let amount = Unit::Credit.amount(units);
    let line = |account: &str, side| LineRow {
        account: account.to_owned(),
        side,
        asset: amount.asset,
        amount_atomic: amount.atomic,
    };
    let lines = vec![line(from, Side::Debit), line(to, Side::Credit)];
    EntryRow { id, about, kind: kind.to_owned(), at_ms: 5, lines }
}

/// 100 granted: 20 went to another account, 5 ended, 10 were held for a call, of which 7 were taken and 2 given back.
fn rows() -> Rows {
    let balance = format!("balance:{KEY}");
    let (grant, charge) = (About::Grant(GRANT), About::Charge(CHARGE));
    let entries = vec![
        entry(1, grant, "granted", ("issued", &balance), 100),
        entry(2, charge, "captured", (&balance, "earned"), 7),
        entry(3, charge, "given_back", ("earned", &balance), 2),
        entry(4, grant, "lapsed", (&balance, "lapsed"), 5),
        entry(5, About::Grant(GrantId([9; 16])), "granted", (&balance, &format!("balance:{OTHER}")), 20),
    ];
    let charge = Charge {
        id: CHARGE,
        key: KEY,
        unit: Unit::Credit,
        amount: 10,
        micros: 0,
        route: "GET /paid".to_owned(),
        fingerprint: B256::ZERO,
        idempotency: None,
        opened_at_ms: 5,
        tags: None,
    };
    let grant = Grant {
        id: GRANT,
        key: KEY,
        unit: Unit::Credit,
        source: GrantSource::Operator,
        label: String::new(),
        priority: 0,
        granted: 100,
        left: 70,
        granted_at_ms: 5,
        expires_at_ms: None,
    };
    let account = AccountRow {
        id: KEY,
        unit: Unit::Credit,
        is_closed: false,
        closes_at_ms: None,
        calls: 1,
        spent: 5,
        used_at_ms: Some(5),
        suspended_until_ms: None,
    };
    let charge = ChargeRecord {
        charge,
        draws: vec![Draw { grant: GRANT, amount: 10 }],
        counted: Vec::new(),
        state: ChargeState::Captured(7),
        answer: AnswerState::Live,
        refunded: 2,
    };
    Rows { account, grant, charge, entries, given: 20 }
}

/// What an audit finds, each by its word and its subject.
fn found(rows: &Rows) -> Vec<(Word, &'static str)> {
    let mut balances = Balances::default();
    rows.entries.iter().for_each(|entry| balances.take(entry));
    let of = |about| rows.entries.iter().filter(|entry| entry.about == about).cloned().collect::<Vec<_>>();
    let mut findings = balances.check_charge(&rows.charge, &of(About::Charge(CHARGE)));
    let (wrong, away) = balances.check_grant(&rows.grant, &of(About::Grant(GRANT)));
    findings.extend(wrong);
    findings.extend(balances.check_account(&rows.account, std::slice::from_ref(&rows.grant), (away, rows.given)));
    let other = |finding: &Finding| finding.subject != Subject::Balance(format!("balance:{OTHER}"));
    findings.extend(balances.finish().into_iter().filter(other));
    findings.iter().map(|finding| (finding.word, finding.subject.kind())).collect()
}

#[test]
fn balances_that_are_whole() {
    assert_eq!(found(&rows()), []);
    // One that is running holds what it drew.
    let mut open = rows();
    (open.charge.state, open.charge.refunded, open.grant.left) = (ChargeState::Open, 0, 65);
    (open.account.calls, open.account.spent) = (0, 0);
    open.entries.retain(|entry| entry.about != About::Charge(CHARGE));
    assert_eq!(found(&open), []);
    // One that was let go holds nothing.
    for state in [ChargeState::Released(ReleaseReason::NotSent), ChargeState::Burnt(BurnReason::Unanswered)] {
        (open.charge.state, open.grant.left) = (state, 75);
        assert_eq!(found(&open), []);
    }
}

#[test]
fn balances_that_somebody_changed() {
    use Word::{Misbooked, SumsDiffer};
    type Case<'a> = (&'a str, fn(&mut Rows), &'a [(Word, &'a str)]);
    let (charge, grant, account) = ((Misbooked, "charge"), (Misbooked, "grant"), (SumsDiffer, "account"));
    let table: [Case<'_>; 20] = [
        ("more left", |rows| rows.grant.left = 71, &[account, account]),
        ("much more left", |rows| rows.grant.left = 100, &[grant, account, account]),
        ("less left", |rows| rows.grant.left = 69, &[account, account]),
        ("a larger grant", |rows| rows.grant.granted = 101, &[grant, account]),
        ("a smaller grant", |rows| rows.grant.granted = 99, &[grant, account]),
        ("another source", |rows| rows.grant.source = GrantSource::Payment(HoldId([7; 16])), &[grant]),
        ("another holder", |rows| rows.grant.key = OTHER, &[grant, grant]),
        ("less taken", |rows| rows.charge.state = ChargeState::Captured(6), &[charge, account, account]),
        (
            "never taken",
            |rows| rows.charge.state = ChargeState::Burnt(BurnReason::Broken),
            &[charge, charge, account, account],
        ),
        ("held again", |rows| rows.charge.state = ChargeState::Open, &[charge, charge, account, account, account]),
        ("more given back", |rows| rows.charge.refunded = 3, &[charge, account, account]),
        ("more given back than taken", |rows| rows.charge.refunded = 8, &[charge, charge, account, account]),
        ("drawn from less", |rows| rows.charge.draws[0].amount = 9, &[charge]),
        ("another price", |rows| rows.charge.charge.amount = 9, &[charge]),
        ("fewer calls", |rows| rows.account.calls = 0, &[account]),
        ("less spent", |rows| rows.account.spent = 4, &[account]),
        ("another unit", |rows| rows.account.unit = Unit::Usd, &[account, (SumsDiffer, "balance")]),
        ("a transfer that took nothing", |rows| rows.given = 0, &[account]),
        (
            "an entry over less",
            |rows| rows.entries[1].lines.iter_mut().for_each(|line| line.amount_atomic = 6),
            &[charge, account],
        ),
        ("an entry gone", |rows| drop(rows.entries.remove(3)), &[account, account]),
    ];
    for (what, change, want) in table {
        let mut rows = rows();
        change(&mut rows);
        assert_eq!(found(&rows), want, "{what}");
    }
}
