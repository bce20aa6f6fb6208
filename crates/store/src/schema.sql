-- The journal. Amounts are 16-byte big-endian blobs (SQLite integers are 64-bit); addresses 20 bytes, hashes and nonces 32.

-- What the journal is of: schema version, and the genesis hash of every chain that it has holds on.
CREATE TABLE IF NOT EXISTS about (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- Alternatives are written with OR: for an IN of three and more SQLite builds a table that it throws away again, each time that it writes a
-- row. Queries name a partial index's condition in its own words, or it is not used.

-- One row for each claim of an authorization. A released claim keeps its row; the next claim is a new one.
CREATE TABLE IF NOT EXISTS holds (
    turn          INTEGER PRIMARY KEY,        -- order of the claims
    id            BLOB NOT NULL UNIQUE,       -- 5 bytes of the time, so that what is written together lies together, and 11 random ones
    network       INTEGER NOT NULL,           -- chain id
    asset         BLOB NOT NULL,              -- token contract
    payer         BLOB NOT NULL,              -- authorization: from
    nonce         BLOB NOT NULL,              -- authorization: its one-use number
    payee         BLOB NOT NULL,              -- authorization: to
    amount        BLOB NOT NULL,              -- authorization: value, atomic units
    valid_after_s  INTEGER NOT NULL,          -- authorization: seconds
    valid_before_s INTEGER NOT NULL,          -- authorization: seconds
    signature     BLOB NOT NULL,              -- r, s, v
    route         TEXT NOT NULL,              -- stable id of the route
    fingerprint   BLOB NOT NULL,              -- digest of method and URL
    idempotency   BLOB,                       -- digest of the payment's identifier or the caller's Idempotency-Key; one payment each
    seen_block    INTEGER NOT NULL,           -- block at which the nonce was read unused
    seen_hash     BLOB NOT NULL,              -- its hash
    opened_at_ms  INTEGER NOT NULL,           -- when it was won
    rail          TEXT NOT NULL CHECK (rail IN ('direct', 'tab')),
    source        BLOB NOT NULL,              -- who called: 16 bytes, an IPv4 address (mapped) or the /64 of an IPv6 address
    exposure      INTEGER NOT NULL,           -- the price in millionths of a dollar, rounded up
    exposed       INTEGER NOT NULL,           -- the same while it is on the tab and unsettled, else 0
    state         TEXT NOT NULL CHECK (state = 'open' OR state = 'answered' OR state = 'submitted'
        OR state = 'posted' OR state = 'released' OR state = 'burnt' OR state = 'lost'),
    reason        TEXT,                       -- why it was released, burnt or lost
    chain_tx      BLOB,                       -- submitted: the newest, nothing while a facilitator has named none; posted: the one that moved the money
    settled_block INTEGER,                    -- posted: its block; 0 where a facilitator's word is all there is
    answer        TEXT NOT NULL CHECK (answer = 'live' OR answer = 'pending' OR answer = 'kept' OR answer = 'delivered' OR answer = 'lost'),
    pickup        BLOB,                       -- digest of the pick-up code
    refund_due    INTEGER NOT NULL,           -- 1: a refund entry was written
    late          INTEGER NOT NULL,           -- 1: money came after the end and is in suspense
    watched       INTEGER NOT NULL DEFAULT 0, -- 1: ended without money, and looked at after validBefore
    settled_hash  BLOB,                       -- posted: the hash of its block; nothing where a facilitator's word is all there is
    reorgs        INTEGER NOT NULL DEFAULT 0, -- how often a reorg took its money out of the chain
    final         INTEGER NOT NULL DEFAULT 0, -- 1: posted, and its block is final
    buys          BLOB                        -- what it buys besides the call: an account, its unit (1 dollars, 2 credits, 3 calls), how much,
                                              -- 8 bytes, and when that ends, 8 bytes where it does; big-endian
) STRICT;
CREATE INDEX IF NOT EXISTS holds_by_claim ON holds (payer, nonce, turn);
CREATE INDEX IF NOT EXISTS holds_named ON holds (payer, idempotency, turn) WHERE idempotency IS NOT NULL;
CREATE INDEX IF NOT EXISTS holds_unfinished ON holds (network, turn)
    WHERE state IN ('open', 'submitted') OR answer = 'pending' OR (state = 'answered' AND answer = 'live');
CREATE INDEX IF NOT EXISTS holds_due ON holds (network, turn) WHERE state = 'answered' AND answer IN ('delivered', 'kept');
CREATE UNIQUE INDEX IF NOT EXISTS holds_picked ON holds (pickup) WHERE pickup IS NOT NULL;
-- What has not ended. In words that the steps of a call leave as they are: an index is written for each change of what it names.
CREATE INDEX IF NOT EXISTS holds_held ON holds (payer) WHERE reason IS NULL AND settled_block IS NULL;
CREATE INDEX IF NOT EXISTS holds_settled ON holds (payer, settled_block) WHERE state = 'posted';
CREATE INDEX IF NOT EXISTS holds_failed ON holds (payer)
    WHERE state = 'lost' OR reason = 'settlement_refused' OR reason = 'foreign_transfer';
CREATE INDEX IF NOT EXISTS holds_unwatched ON holds (network, valid_before_s)
    WHERE watched = 0 AND (state = 'released' OR state = 'burnt' OR state = 'lost');

CREATE INDEX IF NOT EXISTS holds_unfinal ON holds (network, settled_block, settled_hash) WHERE settled_hash IS NOT NULL AND final = 0;

-- What is on the tab and unsettled, in millionths of a dollar: the sums of holds.exposed, written with them. The writer keeps both: a
-- trigger would write three rows for each hold instead of for each commit.
CREATE TABLE IF NOT EXISTS tabs (
    scope  TEXT NOT NULL CHECK (scope = 'payer' OR scope = 'source' OR scope = 'gate'),
    who    BLOB NOT NULL,        -- the payer, the source, or nothing
    micros INTEGER NOT NULL,
    PRIMARY KEY (scope, who)
) STRICT, WITHOUT ROWID;

-- What was lost, by the day on which its call was claimed: it goes on counting against the caps of its source and of the gate for that
-- day and the next, so that caps bound what is lost and not only what is lent.
CREATE TABLE IF NOT EXISTS losses (
    who    BLOB NOT NULL,        -- the source, or nothing for the gate
    day    INTEGER NOT NULL,     -- days since 1970
    micros INTEGER NOT NULL,
    PRIMARY KEY (who, day)
) STRICT, WITHOUT ROWID;

-- Every chain_tx that was signed, before it was sent. Several with one sequence are bids for the same holds; the newest counts.
CREATE TABLE IF NOT EXISTS chain_txs (
    hash     BLOB PRIMARY KEY,
    network  INTEGER NOT NULL,   -- chain id
    signer   BLOB NOT NULL,      -- who signed it
    sequence INTEGER NOT NULL,   -- the signer's transaction counter
    raw      BLOB NOT NULL,      -- the signed bytes, sent again as they are
    at_ms    INTEGER NOT NULL,
    fate     TEXT CHECK (fate IN ('mined', 'outbid')), -- nothing while it is not known
    block    INTEGER,            -- mined: its block
    fee      BLOB,               -- mined: what it cost, in wei
    block_hash BLOB,             -- mined: the hash of its block
    final    INTEGER NOT NULL DEFAULT 0 -- 1: mined, and its block is final
) STRICT;
CREATE INDEX IF NOT EXISTS chain_txs_by_sequence ON chain_txs (network, signer, sequence);
CREATE INDEX IF NOT EXISTS chain_txs_unmined ON chain_txs (network, signer, sequence) WHERE fate IS NULL;
CREATE INDEX IF NOT EXISTS chain_txs_unfinal ON chain_txs (network, block, block_hash) WHERE block_hash IS NOT NULL AND final = 0;
-- For which holds a chain_tx was signed: one, or the members of a batch.
CREATE TABLE IF NOT EXISTS bids (
    hold     BLOB NOT NULL REFERENCES holds (id),
    chain_tx BLOB NOT NULL REFERENCES chain_txs (hash),
    PRIMARY KEY (hold, chain_tx)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bids_by_chain_tx ON bids (chain_tx);

-- The books: double entry, append-only.
CREATE TABLE IF NOT EXISTS entries (
    id       INTEGER PRIMARY KEY,
    hold     BLOB REFERENCES holds (id),         -- about a payment
    chain_tx BLOB REFERENCES chain_txs (hash),   -- or about a chain_tx of ours
    kind     TEXT NOT NULL,      -- posted, refund_due, late, uncollected, recovered, refunded, unrefunded, unsettled, resettled, refund_voided,
                                 -- converted, unconverted; gas, gas_voided; captured, given_back; granted, lapsed, withdrawn
    at_ms    INTEGER NOT NULL,
    charge   BLOB REFERENCES charges (id),       -- or about a call that was paid from a balance
    grant_id BLOB REFERENCES grants (id),        -- or about a part of a balance
    CHECK ((hold IS NOT NULL) + (chain_tx IS NOT NULL) + (charge IS NOT NULL) + (grant_id IS NOT NULL) = 1)
) STRICT;
CREATE INDEX IF NOT EXISTS entries_by_hold ON entries (hold) WHERE hold IS NOT NULL;
CREATE INDEX IF NOT EXISTS entries_by_charge ON entries (charge) WHERE charge IS NOT NULL;
CREATE INDEX IF NOT EXISTS entries_by_grant ON entries (grant_id) WHERE grant_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS lines (
    entry   INTEGER NOT NULL REFERENCES entries (id),
    account TEXT NOT NULL,       -- external:, revenue:, refund_due:, suspense:, loss:, key:, gas: and an address; balance: and an account;
                                 -- issued, earned, lapsed, conversion
    side    TEXT NOT NULL CHECK (side IN ('debit', 'credit')),
    network INTEGER NOT NULL,    -- chain id of the asset; 0 where it is a balance's
    asset   BLOB NOT NULL,       -- token contract; zero for the native coin; of a balance 1 for dollars, 2 for credits, 3 for calls
    amount  BLOB NOT NULL        -- atomic units
) STRICT;
CREATE INDEX IF NOT EXISTS lines_by_entry ON lines (entry);
CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries are only appended'); END;
CREATE TRIGGER IF NOT EXISTS entries_last BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries are only appended'); END;
CREATE TRIGGER IF NOT EXISTS lines_stay BEFORE UPDATE ON lines BEGIN SELECT RAISE(ABORT, 'lines are only appended'); END;
CREATE TRIGGER IF NOT EXISTS lines_last BEFORE DELETE ON lines BEGIN SELECT RAISE(ABORT, 'lines are only appended'); END;

-- Checkpoints: each seals the entries since the one before it, so that a change of an old entry shows.
CREATE TABLE IF NOT EXISTS seals (
    id          INTEGER PRIMARY KEY,
    first_entry INTEGER NOT NULL,
    last_entry  INTEGER NOT NULL,
    hash        BLOB NOT NULL,   -- digest of the seal before it and of the entries with their lines
    signer      BLOB NOT NULL,   -- the settlement key's address
    signature   BLOB NOT NULL,   -- its signature of the hash
    at_ms       INTEGER NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS seals_stay BEFORE UPDATE ON seals BEGIN SELECT RAISE(ABORT, 'seals are only appended'); END;
CREATE TRIGGER IF NOT EXISTS seals_last BEFORE DELETE ON seals BEGIN SELECT RAISE(ABORT, 'seals are only appended'); END;

-- Answers that a caller may still fetch. Bounded in size and time.
CREATE TABLE IF NOT EXISTS answers (
    hold           BLOB PRIMARY KEY, -- of a payment or a charge
    status         INTEGER NOT NULL,
    headers        BLOB NOT NULL,    -- name: value lines, each ended by CR LF
    body           BLOB NOT NULL,
    request_digest BLOB,             -- digest of the request's body
    bytes          INTEGER NOT NULL, -- size of headers and body
    at_ms          INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS answers_by_age ON answers (at_ms);
-- The size of all answers together, kept by the triggers below: at most one row.
CREATE TABLE IF NOT EXISTS answers_size (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    bytes INTEGER NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS answers_come AFTER INSERT ON answers BEGIN
    INSERT INTO answers_size VALUES (1, new.bytes) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS answers_go AFTER DELETE ON answers BEGIN
    UPDATE answers_size SET bytes = bytes - old.bytes;
END;

-- Money that is given back. The authorization of one that is paid from the refunds wallet has a nonce made of the id: it moves once.
CREATE TABLE IF NOT EXISTS refunds (
    turn       INTEGER PRIMARY KEY,            -- order in which they were asked for
    id         BLOB NOT NULL UNIQUE,           -- digest of payment, amount and key: who asks twice asks for one
    hold       BLOB NOT NULL REFERENCES holds (id),
    amount     BLOB NOT NULL,                  -- in the payment's asset
    micros     INTEGER NOT NULL,               -- the same in millionths of a dollar, rounded up
    own_due    INTEGER NOT NULL,               -- 1: its refund_due entry is its own; 0: the gate had written one for all of the payment
    wallet     BLOB,                           -- who pays; nothing where it is paid by hand
    signature  BLOB,                           -- his, of the authorization: r, s, v
    seen_block INTEGER NOT NULL,               -- the newest block when it was asked for: a Transfer counts only after it
    seen_hash  BLOB NOT NULL,                  -- its hash
    at_ms      INTEGER NOT NULL,
    day        INTEGER,                        -- on whose cap it counts, in days since 1970; nothing before it was let out
    state      TEXT NOT NULL CHECK (state = 'due' OR state = 'submitted' OR state = 'refunded'),
    problem    TEXT,                           -- why it does not go out: wallet_empty, daily_cap, token_refuses
    chain_tx   BLOB,                           -- submitted: the newest; refunded: the one that moved the money
    block      INTEGER,                        -- refunded: its block
    CHECK ((wallet IS NULL) = (signature IS NULL))
) STRICT;
CREATE INDEX IF NOT EXISTS refunds_by_hold ON refunds (hold);
CREATE INDEX IF NOT EXISTS refunds_by_day ON refunds (day) WHERE day IS NOT NULL;
-- For which refund a chain_tx was signed.
CREATE TABLE IF NOT EXISTS refund_bids (
    refund   BLOB NOT NULL REFERENCES refunds (id),
    chain_tx BLOB NOT NULL REFERENCES chain_txs (hash),
    PRIMARY KEY (refund, chain_tx)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refund_bids_by_chain_tx ON refund_bids (chain_tx);

-- What a facilitator lists under /discovery.
CREATE TABLE IF NOT EXISTS listings (
    resource  TEXT NOT NULL,                  -- URL without query
    tool      TEXT NOT NULL,                  -- of an MCP server; empty for everything else
    payee     BLOB NOT NULL,
    item      TEXT NOT NULL,                  -- what is told of it, JSON; null once its payee has taken it out
    signed_at_s INTEGER NOT NULL,             -- when its payee signed that; 0 where the words are a payment's
    settled   INTEGER NOT NULL,               -- payments for it that were settled here
    updated_s INTEGER NOT NULL,
    revision  INTEGER NOT NULL,               -- grows with each writing
    PRIMARY KEY (resource, tool, payee)
) STRICT, WITHOUT ROWID;

-- What receipts of calls are made of, beside their holds. Digests alone; forgotten after a time.
CREATE TABLE IF NOT EXISTS receipts (
    hold          BLOB PRIMARY KEY REFERENCES holds (id),
    at_ms         INTEGER NOT NULL,  -- when the answer began
    method        TEXT NOT NULL,
    path          TEXT NOT NULL,     -- without the query
    request_hash  BLOB,              -- SHA-256 of the request's body, if it was read to its end
    response_hash BLOB               -- SHA-256 of the answer's body, if it was given out to its end
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS receipts_by_age ON receipts (at_ms);
-- A receipt's name is the end of its payment's. Two may share one.
CREATE INDEX IF NOT EXISTS receipts_named ON receipts (substr(hold, 11));

-- Accounts: whose balance. An API key has one, a pass that counts has one. Access is the keys' matter; here is what may be spent.
CREATE TABLE IF NOT EXISTS accounts (
    id           BLOB PRIMARY KEY,
    unit         TEXT NOT NULL CHECK (unit = 'usd' OR unit = 'credit' OR unit = 'call'),
    closed       INTEGER NOT NULL DEFAULT 0,  -- 1: it may not pay
    closes_at_ms INTEGER,                     -- from then on it may not pay
    suspended_until_ms INTEGER,               -- a budget has closed it: before then it may not pay
    calls        INTEGER NOT NULL DEFAULT 0,  -- charges that were captured
    spent        INTEGER NOT NULL DEFAULT 0,  -- what they took, less what was given back
    used_at_ms   INTEGER,                     -- when the last one was
    month        INTEGER NOT NULL DEFAULT 0,  -- of the last one: months since the year 0, in UTC
    month_calls  INTEGER NOT NULL DEFAULT 0,  -- how many were captured in it
    month_spent  INTEGER NOT NULL DEFAULT 0   -- what they took, less what was given back in it
) STRICT, WITHOUT ROWID;

-- What balances are made of.
CREATE TABLE IF NOT EXISTS grants (
    id            BLOB PRIMARY KEY,           -- of a payment that bought it, the payment's
    account       BLOB NOT NULL REFERENCES accounts (id),
    source        TEXT NOT NULL CHECK (source = 'operator' OR source = 'automatic' OR source = 'payment' OR source = 'transfer'),
    source_id     BLOB,                       -- the payment, or the account that gave it
    label         TEXT NOT NULL,
    priority      INTEGER NOT NULL,           -- lower ones are used first
    granted       INTEGER NOT NULL,
    left_over     INTEGER NOT NULL CHECK (left_over >= 0), -- neither used nor held
    granted_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS grants_usable ON grants (account) WHERE left_over > 0;
CREATE INDEX IF NOT EXISTS grants_by_account ON grants (account, granted_at_ms);
CREATE INDEX IF NOT EXISTS grants_ending ON grants (expires_at_ms) WHERE left_over > 0 AND expires_at_ms IS NOT NULL;

-- Calls that are paid from balances.
CREATE TABLE IF NOT EXISTS charges (
    turn         INTEGER PRIMARY KEY,         -- order of the charges
    id           BLOB NOT NULL UNIQUE,
    account      BLOB NOT NULL REFERENCES accounts (id),
    amount       INTEGER NOT NULL,            -- what is held: the price, or the most that it may be
    micros       INTEGER NOT NULL,            -- the same in millionths of a dollar
    route        TEXT NOT NULL,
    fingerprint  BLOB NOT NULL,               -- digest of method and URL
    idempotency  BLOB,                        -- digest of the Idempotency-Key
    opened_at_ms INTEGER NOT NULL,
    tags         TEXT,                        -- what the caller books it under
    draws        BLOB NOT NULL,               -- 24 bytes for each grant that it drew from: the grant, and how much, big-endian
    counted      BLOB NOT NULL,               -- 10 bytes for each budget that it was counted on: scope, window, the window's start
    state        TEXT NOT NULL CHECK (state = 'open' OR state = 'captured' OR state = 'released' OR state = 'burnt'),
    reason       TEXT,                        -- why it was released or burnt
    captured     INTEGER,                     -- what was taken
    refunded     INTEGER NOT NULL DEFAULT 0,  -- what of that was given back
    answer       TEXT NOT NULL CHECK (answer = 'live' OR answer = 'kept' OR answer = 'lost')
) STRICT;
CREATE INDEX IF NOT EXISTS charges_by_account ON charges (account, turn);
CREATE INDEX IF NOT EXISTS charges_open ON charges (turn) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS charges_unkept ON charges (turn) WHERE idempotency IS NOT NULL AND answer = 'live';
CREATE INDEX IF NOT EXISTS charges_named ON charges (account, idempotency, turn) WHERE idempotency IS NOT NULL;

-- Who may use the admin API, besides who has the token of the configuration.
CREATE TABLE IF NOT EXISTS admins (
    id            BLOB PRIMARY KEY,
    name          TEXT NOT NULL,
    digest        BLOB NOT NULL UNIQUE,       -- SHA-256 of his token
    role          TEXT NOT NULL CHECK (role = 'viewer' OR role = 'admin' OR role = 'owner'),
    created_at_ms INTEGER NOT NULL,
    created_by    TEXT NOT NULL,
    revoked_at_ms INTEGER
) STRICT, WITHOUT ROWID;
-- What was done through the admin API, in the step that did it.
CREATE TABLE IF NOT EXISTS audit (
    id      INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    who     TEXT NOT NULL,
    role    TEXT NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,                    -- its kind, a colon, and its name
    asked   TEXT NOT NULL,                    -- JSON, without secrets
    before  TEXT,                             -- JSON
    after   TEXT                              -- JSON
) STRICT;
CREATE INDEX IF NOT EXISTS audit_by_subject ON audit (subject, id);
CREATE TRIGGER IF NOT EXISTS audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only appended'); END;
CREATE TRIGGER IF NOT EXISTS audit_lasts BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only appended'); END;
-- Acts of the admin API that had an Idempotency-Key, for some days.
CREATE TABLE IF NOT EXISTS admin_requests (
    id          BLOB PRIMARY KEY,             -- digest of the admin and the key
    fingerprint BLOB NOT NULL,                -- digest of what was asked for
    at_ms       INTEGER NOT NULL,
    status      INTEGER,                      -- of the answer; nothing where it was not written any more
    answer      TEXT                          -- JSON, without secrets
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS admin_requests_by_age ON admin_requests (at_ms);
-- When calls are not taken: at most one row.
CREATE TABLE IF NOT EXISTS maintenance (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    from_ms  INTEGER NOT NULL,
    until_ms INTEGER,                         -- nothing: until it is ended
    message  TEXT NOT NULL                    -- for callers
) STRICT;
-- API keys: the access side of accounts.
CREATE TABLE IF NOT EXISTS keys (
    id            BLOB PRIMARY KEY REFERENCES accounts (id),
    name          TEXT NOT NULL,
    alias         TEXT UNIQUE,
    status        TEXT NOT NULL CHECK (status = 'active' OR status = 'suspended' OR status = 'revoked'),
    ends_at_ms    INTEGER,                    -- from when on it has expired, its grace included
    created_at_ms INTEGER NOT NULL,
    plan          TEXT REFERENCES plans (name),
    due_at_ms     INTEGER,                    -- when the next scheduled change is due
    record        TEXT NOT NULL               -- all of it, JSON; the columns above are copies to search by
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_due ON keys (due_at_ms) WHERE due_at_ms IS NOT NULL;
CREATE INDEX IF NOT EXISTS keys_by_age ON keys (created_at_ms, id);
CREATE INDEX IF NOT EXISTS keys_by_name ON keys (name, id);
CREATE INDEX IF NOT EXISTS keys_by_plan ON keys (plan) WHERE plan IS NOT NULL;
-- The secrets that open them, several while one is rotated.
CREATE TABLE IF NOT EXISTS secrets (
    hash           BLOB PRIMARY KEY,          -- SHA-256
    key            BLOB NOT NULL REFERENCES keys (id),
    shown          TEXT NOT NULL,             -- how it begins
    made_at_ms     INTEGER NOT NULL,
    valid_until_ms INTEGER                    -- it was replaced, and holds until then
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS secrets_by_key ON secrets (key);
-- Policies for many keys.
CREATE TABLE IF NOT EXISTS plans (
    name   TEXT PRIMARY KEY,
    policy TEXT NOT NULL                      -- JSON
) STRICT, WITHOUT ROWID;
-- What new keys may begin as.
CREATE TABLE IF NOT EXISTS templates (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL                        -- JSON
) STRICT, WITHOUT ROWID;
-- What signs scoped tokens, and by number 0 what the secrets of signed requests are made of.
CREATE TABLE IF NOT EXISTS token_keys (
    number         INTEGER PRIMARY KEY,
    secret         BLOB NOT NULL,
    made_at_ms     INTEGER NOT NULL,
    valid_until_ms INTEGER                    -- it was replaced, and its tokens hold until then
) STRICT;
-- Scoped tokens that are void before their time.
CREATE TABLE IF NOT EXISTS revoked_tokens (
    token         BLOB PRIMARY KEY,
    key           BLOB NOT NULL,
    expires_at_ms INTEGER NOT NULL,           -- forgotten then
    revoked_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS revoked_tokens_ending ON revoked_tokens (expires_at_ms);

-- What is booked under tags, for reports.
CREATE INDEX IF NOT EXISTS charges_tagged ON charges (opened_at_ms) WHERE tags IS NOT NULL;

-- Passes that were taken back.
CREATE TABLE IF NOT EXISTS revoked_passes (
    payment    BLOB PRIMARY KEY REFERENCES holds (id), -- that bought it
    at_ms      INTEGER NOT NULL,
    ends_at_ms INTEGER,                                -- when it would have ended by itself
    unpaid     INTEGER NOT NULL                        -- 1: until its payment, which a reorg took, stands again
) STRICT, WITHOUT ROWID;

-- What budgets have counted: calls that are held or charged, and what for. One row for each counter; a new window begins it anew.
CREATE TABLE IF NOT EXISTS budgets_used (
    scope          TEXT NOT NULL,             -- key, key_route, route or gate
    who            BLOB NOT NULL,             -- the key, the key and the route, the route, or nothing
    window         TEXT NOT NULL,             -- hour, day, week, month or lifetime
    start_ms       INTEGER NOT NULL,          -- when the window began that is counted
    calls          INTEGER NOT NULL,
    amount         INTEGER NOT NULL,          -- of a key in its account's unit, else in millionths of a dollar
    trickled_at_ms INTEGER NOT NULL,          -- when a budget that throttles let the last call through; 0 for never
    shut           INTEGER NOT NULL,          -- 1: a budget that suspends was gone above
    PRIMARY KEY (scope, who, window)
) STRICT, WITHOUT ROWID;
