//! `pontage ledger audit`: recomputes the books and lays them beside the chain.

mod balances;
mod books;
mod chain;
pub(super) mod finding;
pub(super) mod judge;
pub(super) mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use alloy_primitives::{Address, B256};
use clap::Args;
use facilitator::engine::NodeFault;
use ledger::{About, Grant, GrantSource, HoldId, KeyId, LossReason, Refund, RefundState, State};
use protocol::{Asset, AssetAddress, ClaimKey, Network, Payer, Signer as _};
use store::{AccountRow, ChainTxRow, EntryRow, Ledger, Payment, Presence, SealRow};
use tokio::task::LocalSet;

use super::Common;
use super::print::Assets;
use crate::config::Config;
use crate::host::now_ms;
use crate::signer::SettlementKey;
use balances::Balances;
use books::{
    RESTORE, SealWalk, check_chain_txs, check_entry, check_payment, check_signature, check_sums, name_changed,
};
use chain::{Chain, Claim, End, Moved};
use finding::{Finding, Subject, Word};
use judge::{Evidence, Stray, View, claim, judge, judge_chain_tx, judge_refund, known_sender, needs_search, unrelated};
use report::{Compared, Report};

/// For how many emptied payers it is looked where their money went.
const OUTFLOWS_MAX: usize = 200;

/// What `pontage ledger audit` is given.
#[derive(Args)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Ask no chain: check the books by themselves.
    #[arg(long)]
    offline: bool,
    /// List every payment and every unrelated transfer, not only what calls for attention.
    #[arg(long)]
    all: bool,
}

/// Audits, prints, and says by the exit code how it went.
pub(super) fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let config = args.common.load()?;
    let assets = Assets::new(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let scope = Scope { offline: args.offline, times: false };
    let report = LocalSet::new().block_on(&runtime, audit(&config, &assets, scope))?;
    report.print(args.common.format, args.all, &assets)?;
    Ok(ExitCode::from(report.exit_code()))
}

/// What is looked at besides the journal.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    /// No chain at all.
    pub(super) offline: bool,
    /// Also when money came that is no payment of ours.
    pub(super) times: bool,
}

/// The chains are asked where they stand before the journal is read, so that it is never behind what is compared with it.
pub(super) async fn audit(config: &Config, assets: &Assets, scope: Scope) -> anyhow::Result<Report> {
    let mut chains: BTreeMap<Network, Result<Chain, String>> = BTreeMap::new();
    for network in config.networks.iter().filter(|_| !scope.offline) {
        chains.insert(network.network, Chain::connect(network).await);
    }
    let journal = super::open(config)?;
    let chain_txs = journal.chain_txs()?;
    let mut signers: BTreeSet<Address> = chain_txs.iter().map(|tx| tx.signer).collect();
    // Where the keys can be read they count as well; an audit needs none.
    for source in &config.signers {
        signers.extend(SettlementKey::open(source, "facilitator.signer").await.ok().map(|key| key.address()));
    }
    let mut refunds: BTreeMap<HoldId, Vec<Refund>> = BTreeMap::new();
    for refund in journal.refunds()? {
        refunds.entry(refund.payment).or_default().push(refund);
    }
    let mut audit = Audit { journal, assets, signers, chain_txs, refunds, report: Report::new(config, now_ms()) };
    let seals = audit.check_books()?;
    for presence in audit.journal.networks()? {
        audit.report.payments += presence.holds;
        audit.network(&presence, chains.remove(&presence.network), scope).await?;
    }
    name_changed(&mut audit.report.findings, &seals);
    Ok(audit.report)
}

struct Audit<'a> {
    journal: Ledger,
    assets: &'a Assets,
    /// Our keys.
    signers: BTreeSet<Address>,
    chain_txs: Vec<ChainTxRow>,
    /// By payment.
    refunds: BTreeMap<HoldId, Vec<Refund>>,
    report: Report,
}

/// What was read of one chain before its payments are judged.
#[derive(Default)]
struct Searched {
    ends: BTreeMap<Claim, End>,
    outflows: BTreeMap<HoldId, (Moved, End)>,
    strays: BTreeMap<HoldId, (B256, Moved)>,
}

impl Audit<'_> {
    fn refunds_of(&self, payment: &Payment) -> &[Refund] {
        self.refunds.get(&payment.record.hold.id).map_or(&[], Vec::as_slice)
    }

    /// Everything that can be said without a chain, but for the payments.
    fn check_books(&mut self) -> anyhow::Result<Vec<SealRow>> {
        let seals = self.journal.seals()?;
        if self.signers.is_empty() {
            // A gate that lives of balances has sent nothing: without its key, the first seal says whose they are.
            self.signers.extend(seals.first().map(|seal| seal.signer));
        }
        let mut walk = SealWalk::new(&seals, &self.signers);
        let mut gas: BTreeMap<B256, Vec<EntryRow>> = BTreeMap::new();
        let mut findings = Vec::new();
        let (mut last, mut entries, mut balances) = (0, 0, Balances::default());
        loop {
            let page = self.journal.entries(last)?;
            let Some(end) = page.last() else { break };
            last = end.id;
            for entry in page {
                entries += 1;
                walk.take(&entry);
                findings.extend(check_entry(&entry));
                balances.take(&entry);
                if let About::ChainTx(hash) = entry.about {
                    gas.entry(hash).or_default().push(entry);
                }
            }
        }
        let (broken, unsealed) = walk.finish();
        for (id, what) in self.journal.orphans()? {
            let found = format!("entry {id} is there in part: its {what} is missing");
            findings.push(Finding::new(Word::Misbooked, Subject::Entry(id), found, RESTORE));
        }
        for hold in self.journal.served_twice()? {
            let found = format!("the call of payment {hold} was served, and an earlier one by the same authorization");
            findings.push(Finding::new(Word::ServedTwice, Subject::Payment(hold), found, RESTORE));
        }
        for hold in self.journal.booked_twice()? {
            let found = format!("the authorization of payment {hold} has moved money for an earlier payment already");
            findings.push(Finding::new(Word::Misbooked, Subject::Payment(hold), found, RESTORE));
        }
        findings.extend(check_chain_txs(&self.chain_txs, &gas));
        findings.extend(check_sums(&self.journal.tab_sums()?));
        findings.extend(self.check_balances(balances)?);
        findings.extend(broken);
        if let Some((first, last)) = unsealed {
            let found = format!("entries {first} to {last} are in no seal yet");
            let action = "nothing: a running gate seals every minute";
            findings.push(Finding::new(Word::Unsealed, Subject::Entries(first, last), found, action));
        }
        self.report.entries = entries;
        self.report.newest_seal = seals.last().map(|seal| (seal.id, seal.last_entry, seal.hash));
        self.report.findings.extend(findings);
        Ok(seals)
    }

    /// Charges, then the grants that they drew from, then the accounts that have them.
    fn check_balances(&mut self, mut balances: Balances) -> anyhow::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for (what, id) in self.journal.accountless()? {
            let (found, id) = (format!("{what} {} is of an account that is missing", KeyId(id)), HoldId(id));
            findings.push(Finding::new(Word::Misbooked, Subject::Charge(id), found, RESTORE));
        }
        let mut last = 0;
        loop {
            let page = self.journal.charges(last)?;
            let Some((turn, _)) = page.last() else { break };
            last = *turn;
            self.report.charges += page.len() as u64;
            for (_, record) in &page {
                let entries = self.journal.entries_of(About::Charge(record.charge.id))?;
                findings.extend(balances.check_charge(record, &entries));
            }
        }
        // What went from each account to others, by the giver's grants and by the takers'.
        let (mut away, mut given) = (BTreeMap::<KeyId, u64>::new(), BTreeMap::<KeyId, u64>::new());
        self.each_account(|journal, account, grants| {
            for grant in grants {
                let (wrong, gone) = balances.check_grant(grant, &journal.entries_of(About::Grant(grant.id))?);
                findings.extend(wrong);
                *away.entry(account.id).or_default() += gone;
                if let GrantSource::Transfer(from) = grant.source {
                    *given.entry(from).or_default() += grant.granted;
                }
            }
            Ok(())
        })?;
        let of = |sums: &BTreeMap<KeyId, u64>, id| sums.get(&id).copied().unwrap_or(0);
        let mut accounts = 0;
        self.each_account(|_, account, grants| {
            accounts += 1;
            let moved = (of(&away, account.id), of(&given, account.id));
            findings.extend(balances.check_account(account, grants, moved));
            Ok(())
        })?;
        self.report.accounts = accounts;
        findings.extend(balances.finish());
        Ok(findings)
    }

    fn each_account(
        &self,
        mut each: impl FnMut(&Ledger, &AccountRow, &[Grant]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut last = None;
        loop {
            let page = self.journal.accounts(last)?;
            let Some(end) = page.last() else { return Ok(()) };
            last = Some(end.id);
            for account in &page {
                each(&self.journal, account, &self.journal.grants(account)?)?;
            }
        }
    }

    /// The payments of a network, beside its chain where that can be read.
    async fn network(
        &mut self,
        presence: &Presence,
        chain: Option<Result<Chain, String>>,
        scope: Scope,
    ) -> anyhow::Result<()> {
        let network = presence.network;
        let unread = |audit: &mut Self, why: String| {
            audit.report.networks.push((network, Compared::Not(why)));
            audit.judge_all(network, &View::Unread)
        };
        let mut chain = match chain {
            Some(Ok(chain)) if chain.is_of(presence.genesis) => chain,
            Some(Ok(_)) => return unread(self, "its node is on another chain (the first block differs)".to_owned()),
            Some(Err(why)) => return unread(self, why),
            None if scope.offline => {
                self.report.networks.push((network, Compared::Offline));
                return self.judge_all(network, &View::Offline);
            }
            None => return unread(self, "it is not in the configuration".to_owned()),
        };
        match self.search(presence, &mut chain).await? {
            Err(NodeFault) => unread(self, "its node stopped answering".to_owned()),
            Ok(searched) => {
                self.report.networks.push((network, Compared::To(chain.head)));
                if scope.times {
                    self.date_unrelated(network, &chain).await;
                }
                self.compare(network, &chain, &searched)
            }
        }
    }

    fn judge_all(&mut self, network: Network, view: &View<'_>) -> anyhow::Result<()> {
        self.each(network, |audit, payment| {
            let finding = judge(payment, audit.refunds_of(payment), view, audit.assets);
            audit.report.take(finding);
        })
    }

    /// Goes through the payments of a network, and checks each against its entries.
    fn each(&mut self, network: Network, mut each: impl FnMut(&mut Self, &Payment)) -> anyhow::Result<()> {
        let mut last = 0;
        loop {
            let page = self.journal.payments(last)?;
            let Some(end) = page.last() else { return Ok(()) };
            last = end.turn;
            for payment in page.iter().filter(|payment| on(payment) == network) {
                let entries = self.journal.entries_of(About::Hold(payment.record.hold.id))?;
                self.report.findings.extend(check_payment(payment, self.refunds_of(payment), &entries));
                // An asset that is no longer in the configuration has no domain to check a signature by.
                let token = self.assets.info(payment.record.hold.authorization.key.asset);
                self.report.findings.extend(token.and_then(|token| check_signature(payment, token)));
                each(self, payment);
            }
        }
    }

    /// Reads of a chain whatever its payments need. The outer error is the journal's.
    async fn search(&mut self, presence: &Presence, chain: &mut Chain) -> anyhow::Result<Result<Searched, NodeFault>> {
        let mut wanted: Vec<(Claim, u64)> = Vec::new();
        let mut emptied: Vec<(HoldId, Claim, u64)> = Vec::new();
        let ours = self.chain_txs.iter().filter(|tx| tx.network == presence.network).map(|tx| tx.hash);
        let given_back = self.refunds.values().flatten().filter(|refund| refund.asset.network == presence.network);
        if chain.read_receipts(ours.chain(given_back.filter_map(refund_tx))).await.is_err() {
            return Ok(Err(NodeFault));
        }
        let mut last = 0;
        loop {
            let page = self.journal.payments(last)?;
            let Some(end) = page.last() else { break };
            last = end.turn;
            let page: Vec<&Payment> = page.iter().filter(|payment| on(payment) == presence.network).collect();
            if chain.read_receipts(page.iter().filter_map(|payment| payment.chain_tx)).await.is_err() {
                return Ok(Err(NodeFault));
            }
            for payment in page {
                let receipt = payment.chain_tx.and_then(|hash| chain.receipt(hash));
                let (seen, hold) = (payment.record.hold.seen.number, payment.record.hold.id);
                if needs_search(payment, receipt) {
                    wanted.push((claim(payment), seen));
                }
                if payment.record.state == State::Lost(LossReason::Emptied) && emptied.len() < OUTFLOWS_MAX {
                    emptied.push((hold, claim(payment), seen));
                }
            }
        }
        let mut searched = Searched::default();
        if let Err(NodeFault) = search_ends(chain, &wanted, &emptied, &mut searched).await {
            return Ok(Err(NodeFault));
        }
        self.search_strays(presence, chain, &mut searched).await.map(|found| found.map(|()| searched))
    }

    /// Money to our payees that no hold accounts for.
    async fn search_strays(
        &mut self,
        presence: &Presence,
        chain: &mut Chain,
        searched: &mut Searched,
    ) -> anyhow::Result<Result<(), NodeFault>> {
        let tokens: Vec<Address> = presence.assets.iter().map(|asset| asset.0).collect();
        let payees: Vec<Address> = presence.payees.iter().map(|payee| payee.0).collect();
        let Ok(found) = chain.transfers_to(&tokens, &payees, presence.first_block).await else {
            return Ok(Err(NodeFault));
        };
        if chain.read_receipts(found.iter().copied()).await.is_err() {
            return Ok(Err(NodeFault));
        }
        for mined in found.iter().filter_map(|hash| chain.receipt(*hash)) {
            let ours = |moved: &&Moved| tokens.contains(&moved.token) && payees.contains(&moved.to);
            for moved in mined.moved.iter().filter(ours) {
                let asset = Asset { network: presence.network, address: AssetAddress(moved.token) };
                let holds = match moved.nonce {
                    Some(nonce) => {
                        let key = ClaimKey { asset, payer: Payer(moved.from), nonce };
                        self.journal.payments_of_claim(&key)?
                    }
                    None => Vec::new(),
                };
                let settled =
                    |payment: &Payment| matches!(payment.record.state, State::Posted(_)) || payment.record.late;
                match holds.last() {
                    None => self.report.unrelated.push(unrelated(mined, moved, asset, self.assets)),
                    Some(_) if holds.iter().any(settled) => {}
                    Some(newest) => {
                        searched.strays.insert(newest.record.hold.id, (mined.chain_tx, *moved));
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    /// Says when money came that is no payment of ours, where the node tells.
    async fn date_unrelated(&mut self, network: Network, chain: &Chain) {
        let unrelated = self.report.unrelated.iter_mut().filter(|finding| finding.network == Some(network));
        let mut unrelated: Vec<&mut Finding> = unrelated.collect();
        let times = chain.times_ms(unrelated.iter().filter_map(|finding| finding.block)).await;
        for finding in &mut unrelated {
            finding.at_ms = finding.block.and_then(|block| times.get(&block).copied());
        }
    }

    /// Lays the payments and our chain_txs beside what was read.
    fn compare(&mut self, network: Network, chain: &Chain, searched: &Searched) -> anyhow::Result<()> {
        self.each(network, |audit, payment| {
            let hold = payment.record.hold.id;
            let end = searched.ends.get(&claim(payment)).copied();
            let stray = searched.strays.get(&hold).and_then(|(hash, moved)| Some((chain.receipt(*hash)?, *moved)));
            let stray = stray.map(|(mined, moved)| Stray {
                mined,
                moved,
                is_old: chain.is_old(mined.block),
                known_sender: known_sender(payment, mined.from, &audit.signers),
            });
            let evidence = Evidence {
                receipt: payment.chain_tx.and_then(|hash| chain.receipt(hash)),
                end,
                end_receipt: end.and_then(|end| chain.receipt(end.chain_tx)),
                stray,
                outflow: searched.outflows.get(&hold).copied(),
                old_time_s: chain.old_time_s,
            };
            let finding = judge(payment, audit.refunds_of(payment), &View::Chain(evidence), audit.assets);
            audit.report.take(finding);
        })?;
        for refund in self.refunds.values().flatten().filter(|refund| refund.asset.network == network) {
            let mined = refund_tx(refund).and_then(|hash| chain.receipt(hash));
            self.report.findings.extend(judge_refund(refund, mined, self.assets));
        }
        for tx in self.chain_txs.iter().filter(|tx| tx.network == network) {
            let mined = chain.receipt(tx.hash);
            let is_old = mined.is_some_and(|mined| chain.is_old(mined.block));
            self.report.findings.extend(judge_chain_tx(tx, mined, is_old, self.assets));
        }
        Ok(())
    }
}

/// What became of authorizations that the books' own chain_txs do not explain.
async fn search_ends(
    chain: &mut Chain,
    wanted: &[(Claim, u64)],
    emptied: &[(HoldId, Claim, u64)],
    searched: &mut Searched,
) -> Result<(), NodeFault> {
    if let Some(from_block) = wanted.iter().map(|(_, seen)| *seen).min() {
        let claims: Vec<Claim> = wanted.iter().map(|(claim, _)| *claim).collect();
        searched.ends = chain.ends(&claims, from_block).await?;
        let hashes: Vec<B256> = searched.ends.values().map(|end| end.chain_tx).collect();
        chain.read_receipts(hashes).await?;
    }
    for (hold, claim, seen) in emptied.iter().filter(|(_, claim, _)| !searched.ends.contains_key(claim)) {
        if let Some(outflow) = chain.outflow(claim.0, claim.1, *seen).await? {
            searched.outflows.insert(*hold, outflow);
        }
    }
    Ok(())
}

/// Where the books have a refund.
const fn refund_tx(refund: &Refund) -> Option<B256> {
    match refund.state {
        RefundState::Refunded { chain_tx, .. } => Some(chain_tx),
        RefundState::Due | RefundState::Submitted(_) => None,
    }
}

const fn on(payment: &Payment) -> Network {
    payment.record.hold.authorization.key.asset.network
}
