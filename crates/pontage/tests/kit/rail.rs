//! What holds on both rails: on `direct` the money has moved when the answer comes, on the tab it moves later.

use serde_json::Value;

use super::{Answer, Books, Gate, PAYEE, World, get, until};

/// Whether this run of the suites puts the payments on the tab, as `cargo xtask test` does once.
pub(crate) fn on_tab() -> bool {
    std::env::var("PONTAGE_TEST_RAIL").is_ok_and(|rail| rail == "tab")
}

impl Gate {
    /// The chain_tx of a call that was served just now. On `direct` its receipt names it; on the tab that says held, and the
    /// status of the payment tells once it is settled.
    pub(crate) fn settled(&self, receipt: &Value) -> String {
        assert_eq!(receipt["success"], true, "{receipt}");
        if self.on_tab() {
            assert_eq!(receipt["extra"]["state"], "held", "served, and not on the tab: {receipt}");
            return self.collected(receipt);
        }
        named(receipt)
    }

    /// The same for a receipt of later, from a repeated request: what was held at first may have been settled since.
    pub(crate) fn settled_before(&self, receipt: &Value) -> String {
        assert_eq!(receipt["success"], true, "{receipt}");
        if self.on_tab() && receipt["transaction"] == "" { self.collected(receipt) } else { named(receipt) }
    }

    /// Follows the status URL of what is held until it is settled.
    fn collected(&self, receipt: &Value) -> String {
        assert_eq!((&receipt["transaction"], &receipt["extra"]["state"]), (&"".into(), &"held".into()), "{receipt}");
        let name = receipt["extra"]["payment"].as_str().expect("the payment's name");
        let url = format!("{}{}", self.url(), receipt["extra"]["status_url"].as_str().expect("a status URL"));
        let mut status = Value::Null;
        until("what is held is settled", || {
            let answer = get(&url, &[]);
            assert_eq!(answer.status, 200, "{}", answer.text());
            status = answer.json();
            !matches!(status["state"].as_str(), Some("running" | "held" | "submitted"))
        });
        let said = (&status["state"], &status["money"], &status["settlement"], &status["payment"]);
        assert_eq!(said, (&"settled".into(), &"moved".into(), &"tab".into(), &name.into()), "{status}");
        assert!(
            receipt["payer"]
                .as_str()
                .expect("a payer")
                .eq_ignore_ascii_case(status["payer"].as_str().expect("a payer"))
        );
        let chain_tx = named(&status);
        let books = Books::open(self.journal());
        let claim = books.claims().into_iter().find(|claim| claim.id == name).expect("a hold of this name");
        assert_eq!((claim.state.as_str(), claim.chain_tx.as_ref()), ("posted", Some(&chain_tx)));
        chain_tx
    }

    /// Waits until nothing is on the tab. On `direct` everything has been settled before, so there is nothing to wait for.
    pub(crate) fn rest(&self) {
        if self.on_tab() {
            let books = Books::open(self.journal());
            until("the tab is settled", || books.unfinished() == 0);
            self.all_on_tab();
        }
    }

    /// Every payment was on the tab, and none is any more, as the caps see it.
    pub(crate) fn all_on_tab(&self) {
        let books = Books::open(self.journal());
        let direct: Vec<_> = books.claims().into_iter().filter(|claim| claim.rail != "tab").collect();
        assert!(direct.is_empty(), "not on the tab: {direct:?}");
        assert_eq!((books.exposed(), books.exposure_off()), (0, Vec::new()));
    }
}

impl World {
    pub(crate) fn on_tab(&self) -> bool {
        self.gate.on_tab()
    }

    /// Waits until nothing is on the tab.
    pub(crate) fn rest(&self) {
        self.gate.rest();
    }

    /// The chain_tx of a call that was served just now, and that moved money to the payee.
    pub(crate) fn settled(&self, answer: &Answer) -> String {
        self.moved(self.gate.settled(&answer.receipt()))
    }

    /// The same for the answer to a repeated request.
    pub(crate) fn settled_before(&self, answer: &Answer) -> String {
        self.moved(self.gate.settled_before(&answer.receipt()))
    }

    /// The same for many calls that were served just now, each with a payment of its own, with one look at the books.
    pub(crate) fn each_settled(&self, answers: &[Answer]) {
        self.rest();
        let posted: Vec<_> = self.books().claims().into_iter().filter(|claim| claim.state == "posted").collect();
        let mut names: Vec<String> = if self.on_tab() {
            posted.into_iter().map(|claim| claim.id).collect()
        } else {
            posted.into_iter().filter_map(|claim| claim.chain_tx).collect()
        };
        let told = |answer: &Answer| {
            let receipt = answer.receipt();
            let name = if self.on_tab() { &receipt["extra"]["payment"] } else { &receipt["transaction"] };
            name.as_str().unwrap_or_else(|| panic!("{receipt}")).to_owned()
        };
        let mut told: Vec<String> = answers.iter().map(told).collect();
        names.sort();
        told.sort();
        assert_eq!(told, names, "receipts and books");
    }

    fn moved(&self, chain_tx: String) -> String {
        let transfers = self.chain.transfers_to(PAYEE).expect("the chain answers");
        assert!(
            transfers.iter().any(|transfer| transfer.chain_tx == chain_tx),
            "{chain_tx} is not among {transfers:?}"
        );
        chain_tx
    }
}

/// The chain_tx that a receipt or a status names.
fn named(said: &Value) -> String {
    let chain_tx = said["transaction"].as_str().expect("a chain_tx");
    assert_eq!(chain_tx.len(), 66, "{said}");
    assert!(said["extra"].is_null(), "{said}");
    chain_tx.to_owned()
}
