// Asks pontage once. 200 goes on to the origin; every other answer is the caller's, whole.
const TO_ORIGIN = {
    pay_verified: 'X-Pay-Verified', pay_from: 'X-Pay-From', pay_amount: 'X-Pay-Amount', pay_settlement: 'X-Pay-Settlement',
    pay_tab: 'X-Pay-Tab', pay_signature: 'X-Pay-Signature', pay_hold: 'X-Pay-Hold', pay_receipt: 'Payment-Response',
};
const OWN = ['connection', 'content-length', 'date', 'server', 'transfer-encoding'];

async function pay(r) {
    const answer = await r.subrequest('/__pay/check');
    if (answer.status === 200) {
        for (const name in TO_ORIGIN) {
            r.variables[name] = answer.headersOut[TO_ORIGIN[name]] || '';
        }
        r.internalRedirect('@origin');
        return;
    }
    for (const name in answer.headersOut) {
        if (OWN.indexOf(name.toLowerCase()) < 0) {
            r.headersOut[name] = answer.headersOut[name];
        }
    }
    r.return(answer.status, answer.responseBuffer);
}

export default { pay };
