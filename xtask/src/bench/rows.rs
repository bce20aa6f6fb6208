//! What is measured.

/// What runs on core 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    /// The upstream itself.
    Direct,
    Nginx,
    Caddy,
    Pontage,
    /// pontage with keys and passes.
    Holder,
    /// The same with 100,000 keys and 5 million entries in its journal.
    Full,
    Sidecar,
    /// `pontage facilitator`.
    Facilitator,
    PayGate,
    /// Takes any payment unseen.
    PayGateMock,
    Express,
}

/// What the load tool sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sends {
    Plain,
    /// The same payment again and again: who is asked keeps no books.
    OnePayment,
    /// A payment that was never seen before with each call.
    FreshPayments,
    /// The same as bodies for a facilitator.
    Bodies,
    /// Payments that are no good, of three kinds.
    BadPayments,
    /// The secret of a key with a balance.
    Key,
    /// A pass for a time.
    Pass,
}

pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) system: System,
    pub(super) path: &'static str,
    pub(super) sends: Sends,
    /// Whether every answer is a 4xx.
    pub(super) is_refusal: bool,
}

impl Row {
    pub(super) fn needs_sidecar(&self) -> bool {
        self.system == System::Sidecar
    }
}

const fn row(name: &'static str, system: System, path: &'static str, sends: Sends, is_refusal: bool) -> Row {
    Row { name, system, path, sends, is_refusal }
}

pub(super) const ROWS: [Row; 22] = [
    row("direct", System::Direct, "/other/1", Sends::Plain, false),
    row("nginx 402", System::Nginx, "/402", Sends::Plain, true),
    row("pontage 402", System::Pontage, "/paid/1", Sends::Plain, true),
    row("nginx proxy", System::Nginx, "/other/1", Sends::Plain, false),
    row("caddy proxy", System::Caddy, "/other/1", Sends::Plain, false),
    row("pontage passthrough", System::Pontage, "/other/1", Sends::Plain, false),
    row("pontage free", System::Pontage, "/free/1", Sends::Plain, false),
    row("pontage paid", System::Pontage, "/paid/1", Sends::FreshPayments, false),
    row("pontage key", System::Holder, "/paid/1", Sends::Key, false),
    row("pontage pass", System::Holder, "/passed/1", Sends::Pass, false),
    row("full passthrough", System::Full, "/other/1", Sends::Plain, false),
    row("full key", System::Full, "/paid/1", Sends::Key, false),
    row("full pass", System::Full, "/passed/1", Sends::Pass, false),
    row("pontage refused", System::Pontage, "/paid/1", Sends::BadPayments, true),
    row("pontage check", System::Sidecar, "/__pay/check/paid/1", Sends::FreshPayments, false),
    row("facilitator verify", System::Facilitator, "/verify", Sends::Bodies, false),
    row("pay-gate 402", System::PayGate, "/paid/1", Sends::Plain, true),
    row("pay-gate free", System::PayGate, "/free/1", Sends::Plain, false),
    row("pay-gate mock", System::PayGateMock, "/paid/1", Sends::OnePayment, false),
    row("pay-gate facilitator", System::PayGate, "/paid/1", Sends::OnePayment, false),
    row("express 402", System::Express, "/paid", Sends::Plain, true),
    row("express paid", System::Express, "/paid", Sends::OnePayment, false),
];
