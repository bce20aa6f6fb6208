//! A paid body on its way to the caller, or into the store.

use std::rc::Rc;

use gate::{Answer, Journal, Outcome, Permit};
use ledger::HoldId;

use super::{Gate, Words};
use crate::audit::Key;
use crate::process::GateHost;
use crate::upstream::UpstreamBody;

/// An answer that is being released. On the tab it holds the permit, which its end closes.
pub(super) struct Paid {
    pub(super) gate: Rc<Gate>,
    pub(super) hold: HoldId,
    pub(super) key: Key,
    pub(super) source: u8,
    pub(super) body: Option<UpstreamBody>,
    pub(super) permit: Option<Permit<GateHost>>,
    /// The caller has an `Idempotency-Key`.
    pub(super) keeps: bool,
}

/// What is stored of an answer: which run it is of.
fn answer(body: &UpstreamBody) -> Answer {
    Answer { status: 200, headers: Vec::new(), body: body.run().to_be_bytes().to_vec(), request_digest: None }
}

impl Paid {
    /// Releases the body piece by piece. Dropped on its way, the caller has left.
    pub(super) async fn give_out(mut self) -> Words {
        self.first_byte();
        loop {
            let Some(body) = &mut self.body else { return Words::Served };
            match body.next().await {
                Some(Ok(())) => {}
                Some(Err(())) => {
                    self.broke();
                    return Words::Broken;
                }
                None => {
                    self.finish();
                    return Words::Served;
                }
            }
        }
    }

    fn first_byte(&self) {
        let world = &self.gate.world;
        world.count(|figures| figures.served += 1);
        let claim = self.gate.released(self.hold, self.key);
        let Some(claim) = claim.filter(|claim| claim.tab) else { return };
        let settled = |hold: [u8; 16], (payer, nonce)| {
            let ended = world.disk.borrow().by_id(HoldId(hold)).is_none_or(|record| record.state.ended());
            ended || world.chain.borrow().has_moved(payer, nonce)
        };
        world.audit.borrow_mut().on_tab(&claim, self.source, &settled);
    }

    fn finish(&mut self) {
        let Some(body) = self.body.take() else { return };
        let (gate, hold, permit) = (Rc::clone(&self.gate), self.hold, self.permit.take());
        let kept = self.keeps.then(|| answer(&body));
        drop(body);
        gate.world.audit.borrow_mut().given_out(hold.0);
        let end = async move {
            if let Some(kept) = kept {
                // The caller had it: if it cannot be stored, nothing is owed.
                gate.flow.journal.keep_answer(hold, kept).await.ok();
            }
            if let Some(permit) = permit {
                gate.flow.close(permit, Outcome::Served { reading: None }).await;
            }
        };
        self.gate.world.exec.spawn(self.gate.owner, "finish", end);
    }

    /// The upstream broke off.
    fn broke(&mut self) {
        self.body = None;
        self.gate.world.audit.borrow_mut().broke_off(self.hold.0);
        let (flow, hold, permit) = (Rc::clone(&self.gate.flow), self.hold, self.permit.take());
        self.gate.world.exec.spawn(self.gate.owner, "broke", async move {
            match permit {
                Some(permit) => {
                    flow.close(permit, Outcome::Broken { reading: None }).await;
                }
                None => flow.answer_broke(hold).await,
            }
        });
    }
}

impl Drop for Paid {
    fn drop(&mut self) {
        // The caller left half-way: the price is due, and with an `Idempotency-Key` he can still have the whole answer.
        if let (Some(body), true) = (self.body.take(), self.keeps) {
            let (gate, hold, permit) = (Rc::clone(&self.gate), self.hold, self.permit.take());
            self.gate.world.exec.spawn(self.gate.owner, "keep rest", keep_rest(gate, hold, body, permit));
        }
    }
}

async fn keep_rest(gate: Rc<Gate>, hold: HoldId, body: UpstreamBody, permit: Option<Permit<GateHost>>) {
    if let Some(kept) = drain(body).await {
        gate.flow.journal.keep_answer(hold, kept).await.ok();
    }
    if let Some(permit) = permit {
        gate.flow.close(permit, Outcome::Cut { reading: None }).await;
    }
}

/// Reads a body to its end; `None` when it breaks off.
async fn drain(mut body: UpstreamBody) -> Option<Answer> {
    loop {
        match body.next().await {
            Some(Ok(())) => {}
            Some(Err(())) => return None,
            None => return Some(answer(&body)),
        }
    }
}

/// Drains an answer that no connection takes into the store, or says that it is lost.
pub(super) async fn keep_whole(gate: &Gate, hold: HoldId, body: UpstreamBody) {
    let kept = match drain(body).await {
        Some(kept) => gate.flow.journal.keep_answer(hold, kept).await == Ok(true),
        None => false,
    };
    if !kept {
        gate.flow.answer_broke(hold).await;
    }
}
