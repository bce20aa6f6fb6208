//! What a start says of its configuration: one line of what runs, and one for each default that may surprise.

use gate::DefaultAction;

use crate::config::{Config, PriceConfig, RouteConfig};

/// The configuration in one line.
pub(super) fn summary(config: &Config) -> String {
    let paid = config.routes.iter().filter(|route| matches!(route.price, PriceConfig::Due(_))).count();
    let networks: Vec<_> = config.networks.iter().map(|network| network.network.to_string()).collect();
    let rest = match config.default_action {
        DefaultAction::Block => "blocked",
        DefaultAction::Passthrough => "passed on unpaid",
    };
    format!(
        "{paid} paid and {} free routes, the rest is {rest}; paid to {} on {}; settled every {} s or {} payments",
        config.routes.len() - paid,
        config.payee,
        if networks.is_empty() { "no network".to_owned() } else { networks.join(", ") },
        config.tab.settle_age_s,
        config.tab.batch_max,
    )
}

/// Settings that are right for some and a surprise for others, each with what would change it.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let public = !config.listen.ip().is_loopback();
    let paid = config.routes.iter().any(|route| matches!(route.price, PriceConfig::Due(_)));
    let mut warnings = Vec::new();
    let mut warn = |applies: bool, text: &str| {
        if applies {
            warnings.push(text.to_owned());
        }
    };
    warn(
        public && config.trusted_proxies == 0,
        "trusted_proxies is 0: the other end of a connection counts as the caller. Behind a proxy of yours, all calls share one limit",
    );
    warn(
        paid && config.public_url.is_none(),
        "public_url is not set: the URL in an offer is made of the caller's Host header, and says http",
    );
    warn(config.fail_open, "fail_mode is open: while nobody can verify payments, paid routes are served unpaid");
    warn(
        config.default_action == DefaultAction::Passthrough,
        "default_action is passthrough: what no route matches is served unpaid",
    );
    warn(
        public && config.cors_origins.iter().any(|origin| origin == "*"),
        "cors is open to every origin: pages of anybody may call and pay",
    );
    let unlimited = config.rates.anonymous.is_none() || config.rates.verification.is_none();
    warn(public && unlimited, "a rate limit is off: one address may keep the gate busy with signatures");
    warn(
        config.tab.verify_local,
        "tab.verify is local: payers who have paid before are served without a look at the chain",
    );
    warn(
        config.accounts.as_ref().is_some_and(|accounts| accounts.shadow),
        "accounts.shadow is true: a call that shows a key, whatever key, is served and not charged",
    );
    let open_admin = config.operation.admin_listen.is_some_and(|admin| !admin.ip().is_loopback());
    warn(open_admin, "admin.listen is reachable from outside: metrics name routes and amounts");
    let listed = config.discovery.discoverable && config.discovery.heartbeat_url.is_some();
    let unnamed = config.discovery.base_url.is_none() && config.public_url.is_none();
    warn(listed && unnamed, "discovery.heartbeat_url is set and base_url is not: nobody is told");
    warnings
}

/// What `pontage validate` says of a sound file besides: which routes nobody can pay for by x402.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let alone = config.routes.iter().filter(|route| match &route.price {
        PriceConfig::Due(due) => due.tariff.is_some() && due.accepts.is_empty(),
        PriceConfig::Free => false,
    });
    let note = |route: &RouteConfig| {
        format!(
            "line {}: {} is for accounts alone: its price has no `offer` for x402.",
            route.line,
            route.path.as_str()
        )
    };
    alone.map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config() -> Config {
        let text = "version: 1\nprovider_address: \"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"\n\
                    proxy: { target: \"http://127.0.0.1:3000\" }\n\
                    networks: { eip155:8453: { rpc_urls: [\"http://127.0.0.1:8545\"] } }\n\
                    routes: [{ path: /health, free: true }, { path: /paid/*, price: \"0.01\" }]\n";
        let mut config = crate::config::parse(text, "pontage.yaml", Path::new("/"), &|_| None).unwrap();
        config.public_url = Some("https://api.example".to_owned());
        config
    }

    #[test]
    fn routes_that_nobody_pays_for_by_x402_are_named() {
        let text = "version: 1\nprovider_address: \"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"\n\
                    proxy: { target: \"http://127.0.0.1:3000\" }\naccounts: {}\n\
                    routes:\n- { path: /alone, price: { per_kb_out: \"0.01\", max: \"1\" } }\n\
                    - { path: /both, price: { per_kb_out: \"0.01\", max: \"1\", offer: \"0.5\" } }\n\
                    - { path: /fixed, price: 1 }\n";
        let config = crate::config::parse(text, "pontage.yaml", Path::new("/"), &|_| None).unwrap();
        assert_eq!(notes(&config), ["line 6: /alone is for accounts alone: its price has no `offer` for x402."]);
    }

    #[test]
    fn m_029_a_summary_and_the_defaults_that_may_surprise() {
        let quiet = config();
        assert_eq!(
            summary(&quiet),
            "1 paid and 1 free routes, the rest is blocked; paid to 0x209693Bc6afc0C5328bA36FaF03C514EF312287C on eip155:8453; \
             settled every 300 s or 50 payments"
        );
        assert_eq!(warnings(&quiet), Vec::<String>::new());
        let everywhere = |config: &mut Config| config.listen = "0.0.0.0:8402".parse().unwrap();
        type Row<'a> = (&'a dyn Fn(&mut Config), &'a [&'a str]);
        let rows: [Row<'_>; 7] = [
            (&everywhere, &["trusted_proxies", "cors"]),
            (&|config| config.public_url = None, &["public_url"]),
            (&|config| config.fail_open = true, &["fail_mode"]),
            (&|config| config.default_action = DefaultAction::Passthrough, &["default_action"]),
            (&|config| config.tab.verify_local = true, &["tab.verify"]),
            (&|config| config.operation.admin_listen = Some("0.0.0.0:9000".parse().unwrap()), &["admin.listen"]),
            (
                &|config| {
                    config.public_url = None;
                    config.discovery.heartbeat_url = Some("https://directory.example".to_owned());
                },
                &["public_url", "discovery.heartbeat_url"],
            ),
        ];
        for (change, want) in rows {
            let mut config = config();
            change(&mut config);
            let warnings = warnings(&config);
            assert_eq!(warnings.len(), want.len(), "{warnings:?}");
            assert!(warnings.iter().zip(want).all(|(warning, word)| warning.starts_with(word)), "{warnings:?}");
        }
    }
}
