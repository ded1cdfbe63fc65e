-- Routes requests inside nginx by the table of a slot, and counts them. Read by every worker.
--
-- Two dictionaries are shared by all workers: `turnout` holds the slots' tables, and which slot each
-- listener is turned to; `turnout_counts` how many requests each worker has at each colour. A worker keeps
-- a table in its own shape once it has read it. A flip is one entry of the first: the next request asks it.
--
-- A slot's table is lines, tab-separated (edge_agent/drivers/nginx/slot.py writes them):
--     v  EPOCH:DIGEST:BUILD
--     s  SERVICE  BLUE-SHARE  BLUE-ADDRESSES  GREEN-ADDRESSES  HEALTH       `-` for none, else comma-separated
--     h  HOST-PATTERN  PATH-PREFIX  SERVICE-NUMBER                  longest pattern, longest prefix first

local balancer = require("ngx.balancer")
local ffi = require("ffi")

local M = {}

local SLOTS = { "a", "b", "c", "d" }
local PRELOAD_S = 0.02
local DEAD_S = 1

local tables = ngx.shared.turnout
local counts = ngx.shared.turnout_counts
local read = {} -- what this worker has read, by slot

ffi.cdef([[
int prctl(int option, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5);
int getppid(void);
]])

local PR_SET_PDEATHSIG, SIGTERM = 1, 15

-- ------------------------------------------------------------------------------------- tables

local function peers(text)
    if text == "-" then
        return nil
    end
    local found = {}
    for host, port in text:gmatch("([^,]+):(%d+)") do
        found[#found + 1] = { host = host, port = tonumber(port), dead_until = 0 }
    end
    return found
end

local function parse(text)
    local made = { version = "", epoch = "0", services = {}, by_name = {} }
    made.hosts, made.suffixes, made.prefixes = {}, {}, {}
    local by_pattern = {}
    for line in text:gmatch("[^\n]+") do
        local kind, rest = line:match("^(%a)\t(.*)$")
        if kind == "v" then
            made.version, made.epoch = rest, rest:match("^(%d+):")
        elseif kind == "s" then
            local name, blue, blues, greens, health =
                rest:match("^([^\t]*)\t(%d+)\t([^\t]*)\t([^\t]*)\t([^\t]*)$")
            local service = {
                name = name,
                blue_share = tonumber(blue),
                blue = peers(blues),
                green = peers(greens),
                health = health,
            }
            made.services[#made.services + 1] = service
            made.by_name[name] = service
        elseif kind == "h" then
            local pattern, prefix, number = rest:match("^([^\t]*)\t([^\t]*)\t(%d+)$")
            local routes = by_pattern[pattern]
            if not routes then
                routes = {}
                by_pattern[pattern] = routes
                if pattern == "*" then
                    made.everything = routes
                elseif pattern:sub(1, 1) == "*" then
                    table.insert(made.suffixes, { text = pattern:sub(2), routes = routes })
                elseif pattern:sub(-1) == "*" then
                    table.insert(made.prefixes, { text = pattern:sub(1, -2), routes = routes })
                else
                    made.hosts[pattern] = routes
                end
            end
            routes[#routes + 1] = { prefix = prefix, service = made.services[tonumber(number)] }
        end
    end
    return made
end

local function table_of(slot)
    local version = tables:get("version:" .. slot)
    local known = read[slot]
    if not known or known.version ~= version then
        known = parse(tables:get("table:" .. slot) or "")
        read[slot] = known
    end
    return known
end

local function below(prefix, path)
    local length = #prefix
    if path:sub(1, length) ~= prefix then
        return false
    end
    return prefix:sub(-1) == "/" or #path == length or path:sub(length + 1, length + 1) == "/"
end

local function routes_of(found, host)
    local routes = found.hosts[host]
    if routes then
        return routes
    end
    for _, suffix in ipairs(found.suffixes) do
        if #host > #suffix.text and host:sub(-#suffix.text) == suffix.text then
            return suffix.routes
        end
    end
    for _, prefix in ipairs(found.prefixes) do
        if #host > #prefix.text and host:sub(1, #prefix.text) == prefix.text then
            return prefix.routes
        end
    end
    return found.everything
end

local function service_of(found, host, path)
    for _, route in ipairs(routes_of(found, host) or {}) do
        if below(route.prefix, path) then
            return route.service
        end
    end
    return nil
end

-- ----------------------------------------------------------------------------------- a request

local function say(status, text)
    ngx.status = status
    ngx.header.content_type = "text/plain"
    ngx.header.content_length = #text
    ngx.print(text)
    return ngx.exit(status)
end

local function is_withdrawn(name)
    local names = tables:get("withdrawn")
    local is_probe = ngx.var.http_user_agent == "turnout-probe"
    return names and not is_probe and names:find("\n" .. name .. "\n", 1, true) ~= nil
end

-- The path as it was sent: nothing is decoded or resolved, which a backend may do in its own way.
local function path_of(uri)
    local path = uri:gsub("^%a[%w+.-]*://[^/?]*", ""):match("^[^?]*")
    return path == "" and "/" or path
end

local function count(what, service, colour, by)
    counts:incr(what .. ngx.worker.pid() .. "\t" .. service .. "\t" .. colour, by, 0)
end

-- Decides where a request goes, by the slot that a listener (`live` or `staged`) is turned to.
function M.route(listener)
    local slot, incarnation = (tables:get(listener) or "a:0"):match("^(%a):(%d+)$")
    local found, ctx = table_of(slot), ngx.ctx
    ctx.epoch = found.epoch
    local host = ngx.var.host
    if host == "turnout.invalid" then
        return say(200, incarnation .. ":" .. found.version)
    end
    if found.epoch == "0" then
        return say(503, "Turnout has no routing table here yet.\n")
    end
    local path = path_of(ngx.var.request_uri)
    local service = service_of(found, host, path)
    if not service then
        return say(404, "No service here.\n")
    end
    if listener == "live" and path == service.health and is_withdrawn(service.name) then
        ctx.service = service.name
        return say(503, "Withdrawn: this edge hears no coordinator.\n")
    end
    local colour = math.random(100) <= service.blue_share and "blue" or "green"
    ctx.service, ctx.colour, ctx.peers = service.name, colour, service[colour]
    if not ctx.peers then
        return say(503, "Service '" .. service.name .. "' has no backends here.\n")
    end
    ctx.counted = true
    count("n", service.name, colour, 1)
    count("t", service.name, colour, 1)
end

-- Marks every answer, nginx's own too; what a backend says of itself is overwritten.
function M.mark()
    local ctx, header = ngx.ctx, ngx.header
    if ctx.epoch then
        header["x-turnout-epoch"] = ctx.epoch
        header["x-turnout-service"] = ctx.service
        header["x-turnout-colour"] = ctx.colour
    end
end

-- Whether the try before had a connection: of the tries, one that came to be has a time.
local function was_connected()
    return (ngx.var.upstream_connect_time or ""):match("%d[ :,]*$") ~= nil
end

-- Whether a request that failed may be tried at another backend of its colour: not where it was cut there,
-- because the drain of a source is over.
local function may_try_again(ctx)
    local live = table_of((tables:get("live")):sub(1, 1)).by_name[ctx.service]
    local share = live and (ctx.colour == "blue" and live.blue_share or 100 - live.blue_share) or 0
    return share > 0 or not was_connected()
end

-- Another backend than those that were tried; one that took no connection a moment ago only if all are so.
local function next_peer(ctx)
    local number, now = #ctx.peers, ngx.now()
    local chosen
    for _ = 1, number do
        local peer = ctx.peers[(ctx.first + ctx.tried) % number + 1]
        ctx.tried = ctx.tried + 1
        chosen = chosen or peer
        if peer.dead_until <= now then
            return peer
        end
    end
    return chosen
end

-- Chooses a backend; called again for another one where a try failed.
function M.balance()
    local ctx = ngx.ctx
    local number = #ctx.peers
    if not ctx.first then
        ctx.first, ctx.tried = math.random(number), 0
        if number > 1 then
            balancer.set_more_tries(number - 1)
        end
    else
        if not was_connected() then
            ctx.peer.dead_until = ngx.now() + DEAD_S
        end
        if not may_try_again(ctx) then
            return ngx.exit(502)
        end
    end
    ctx.peer = next_peer(ctx)
    local ok, err = balancer.set_current_peer(ctx.peer.host, ctx.peer.port)
    if not ok then
        ngx.log(ngx.ERR, "no such backend: ", err)
        return ngx.exit(502)
    end
end

-- The request is over, however it ended; an upgraded stream too.
function M.leave()
    local ctx = ngx.ctx
    if ctx.counted then
        ctx.counted = false
        count("n", ctx.service, ctx.colour, -1)
    end
end

-- ------------------------------------------------------------------------- the agent's questions

local function keep(slot, text)
    local version = text:match("^v\t([^\n]*)\n")
    if not version then
        return nil, "its first line is no version"
    end
    local ok, err = tables:safe_set("table:" .. slot, text)
    if ok then
        ok, err = tables:safe_set("version:" .. slot, version)
    end
    return ok, err
end

local function contents(path)
    local file = io.open(path, "rb")
    local text = file and file:read("*a")
    if file then
        file:close()
    end
    return text
end

local function turn(listener, slot, incarnation)
    return tables:safe_set(listener, slot .. ":" .. incarnation)
end

-- In the master, before there are workers: everything is as the files say. A slot that nobody asks is read
-- when it is filled again. At a reload shared memory is as it was, and newer than a file may be.
function M.boot(folder)
    for line in io.lines(folder .. "/active.map") do
        local listener, slot, incarnation = line:match("^(%a+) (%a):(%d+)$")
        if not tables:get(listener) then
            assert(keep(slot, contents(folder .. "/" .. slot .. ".table") or "v\t0::\n"))
            assert(turn(listener, slot, incarnation))
        end
    end
end

-- In each worker: it ends with its master, and reads tables before requests need them.
function M.begin(master)
    math.randomseed(ngx.worker.pid() + ngx.now() * 1000)
    ffi.C.prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0)
    if ffi.C.getppid() ~= master then
        os.exit(1)
    end
    ngx.timer.every(PRELOAD_S, function()
        for _, slot in ipairs(SLOTS) do
            table_of(slot)
        end
    end)
end

function M.show()
    ngx.say("live ", tables:get("live"))
    ngx.say("staged ", tables:get("staged"))
end

-- The body is a table: workers may be somebody who cannot read the agent's files.
function M.load()
    ngx.req.read_body()
    local text = ngx.req.get_body_data() or contents(ngx.req.get_body_file() or "") or ""
    local ok, err = keep(ngx.var.arg_slot, text)
    if not ok then
        return say(500, "slot " .. ngx.var.arg_slot .. ": " .. err)
    end
    ngx.print("done")
end

-- The body names the services whose health endpoints fail, each between two line breaks.
function M.withdraw()
    ngx.req.read_body()
    local ok, err = tables:safe_set("withdrawn", ngx.req.get_body_data() or "")
    if not ok then
        return say(500, "withdrawn: " .. err)
    end
    ngx.print("done")
end

function M.turn()
    local ok, err = turn(ngx.var.arg_listener, ngx.var.arg_slot, ngx.var.arg_incarnation)
    if not ok then
        return say(500, ngx.var.arg_listener .. ": " .. err)
    end
    ngx.print("done")
end

-- How many requests these workers have at a colour (`n`), or ever had (`t`).
function M.count()
    local total = 0
    local what, service, colour = ngx.var.arg_what, ngx.var.arg_service, ngx.var.arg_colour
    for pid in ngx.var.arg_workers:gmatch("%d+") do
        total = total + (counts:get(what .. pid .. "\t" .. service .. "\t" .. colour) or 0)
    end
    ngx.print(total)
end

return M
