local GATE = "http://127.0.0.1:8402"
local OWN = { connection = 1, ["content-length"] = 1, ["transfer-encoding"] = 1, date = 1 }

-- Asks pontage once. 200 goes on to the origin; every other answer is the caller's, whole.
core.register_action("pay", { "http-req" }, function(txn)
    local method = txn.f:method()
    local headers = txn.http:req_get_headers()
    for name in pairs(OWN) do headers[name] = nil end
    headers["expect"], headers["upgrade"] = nil, nil
    headers["x-original-uri"] = { [0] = txn.f:pathq() }
    headers["x-original-method"] = { [0] = method }
    local answer = core.httpclient():get { url = GATE .. "/__pay/check", headers = headers }
    if answer.status == 200 then
        for name, values in pairs(answer.headers) do
            if name:find("^x%-pay%-") then txn.http:req_set_header(name, values[0]) end
        end
        txn.http:req_del_header("x-pay-hold")
        for name, variable in pairs { ["x-pay-hold"] = "txn.pay_hold", ["payment-response"] = "txn.pay_receipt" } do
            if answer.headers[name] then txn:set_var(variable, answer.headers[name][0]) end
        end
        return
    end
    -- No answer is not leave to go on.
    local status = answer.status and answer.status >= 400 and answer.status or 503
    local reply = txn:reply { status = status }
    for name, values in pairs(answer.headers or {}) do
        if not OWN[name] then
            for _, value in pairs(values) do reply:add_header(name, value) end
        end
    end
    if method ~= "HEAD" then reply:set_body(answer.body or "") end
    txn:done(reply)
end)

-- Tells pontage how the origin answered: the money of a failed call is given back. The caller does not wait for it.
core.register_action("outcome", { "http-res" }, function(txn)
    local body = string.format('{"hold": "%s", "status": %d}', txn:get_var("txn.pay_hold"), txn.f:status())
    core.register_task(function()
        core.httpclient():post {
            url = GATE .. "/__pay/outcome", body = body, headers = { ["content-type"] = { "application/json" } },
        }
    end)
end)
