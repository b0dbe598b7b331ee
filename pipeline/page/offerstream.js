// The script of a page that shows Offerstream's offers (deploy/PAGE.md). It needs no other,
// writes text only, sets no style attribute and works under a strict CSP. What is served is
// offerstream.min.js: after a change here, run go generate.
(() => {
  'use strict'
  const d = document, script = d.currentScript, store = 'offerstream', offers = new Map()
  let opt, mem, visitor, issuing, user, run = 0, abort, last = '', boxes, wait

  const later = (ms, stop) => new Promise(ok => { setTimeout(ok, ms); if (stop) wait = ok })
  const random = () => Date.now().toString(36) + Math.random().toString(36).slice(2)
  const save = () => { try { localStorage.setItem(store, JSON.stringify(mem)) } catch {} }
  const call = (path, init) => fetch(opt.gateway + '/v1/' + path, init)

  // The visitor: his id is the gateway's. A token renews its own id.
  const keep = v => {
    visitor = { ...visitor, ...v }
    if (!visitor.cookie) { mem.v = visitor; save() }
  }
  const visit = async () => {
    if (visitor && Date.parse(visitor.expires) > Date.now() + 1e4) return visitor
    return issuing ||= (async () => {
      const r = await call(visitor === 0 ? 'visitor?new' : 'visitor', { method: 'POST', headers: visitor ? { Authorization: 'Bearer ' + visitor.token } : {} })
      if (!r.ok) throw r
      keep(await r.json())
      return visitor
    })().finally(() => { issuing = 0 })
  }
  const userToken = async () => user && (typeof user.token == 'function' ? await user.token() : user.token)

  // Events.
  const send = async (type, event, properties, more) => {
    const v = await visit(), l = location
    const r = await call('batch', {
      method: 'POST', keepalive: true,
      body: JSON.stringify({
        writeKey: opt.key, userToken: await userToken() || undefined, visitorToken: type == 'identify' ? v.token : undefined, batch: [{
          type, event, properties, messageId: random(), timestamp: new Date, anonymousId: v.id, userId: user?.id,
          context: { page: { url: l.href, path: l.pathname, title: d.title, referrer: d.referrer } }, ...more,
        }],
      }),
    })
    if (!r.ok) throw r
  }
  // 1: shown, 2: clicked or dismissed. Each is told once of an offer.
  const tell = (o, what, bit) => {
    const seen = mem.s[o.id]
    mem.s[o.id] = seen | bit
    for (const id of Object.keys(mem.s).slice(0, -50)) delete mem.s[id]
    save()
    if (!(seen & bit)) send('system', 'Offer ' + what, { offer_id: o.id, campaign: o.campaign, channel: 'web' }, { messageId: what + '-' + o.id }).catch(() => {})
  }

  // What an offer says.
  const text = v => {
    if (Object(v) === v) {
      const lang = d.documentElement.lang || navigator.language
      v = v[lang] ?? v[lang.slice(0, 2)] ?? Object.values(v)[0]
    }
    return Object(v) === v ? '' : String(v ?? '')
  }
  const link = v => {
    try {
      const u = new URL(v ?? 'none:', location)
      return /^https?:$/.test(u.protocol) && opt.links.includes(u.host) ? u.href : ''
    } catch { return '' }
  }
  const add = (to, tag, name, said) => {
    const e = d.createElement(tag)
    e.className = 'offerstream-' + name
    e.textContent = said || ''
    return to.appendChild(e)
  }
  const css = ':host{all:initial}.offerstream-banner,.offerstream-toast{position:fixed;z-index:2147483000;font:16px/1.4 system-ui,sans-serif}' +
    '.offerstream-banner{inset:0 0 auto}.offerstream-toast{inset:auto 1em 1em auto;max-width:22em}' +
    '.offerstream-box{display:flex;flex-wrap:wrap;gap:.5em 1em;align-items:center;padding:1em;color:var(--offerstream-color,#111);background:var(--offerstream-background,#fff);box-shadow:0 0 6px #0006}' +
    '.offerstream-title{font-weight:600}.offerstream-close{margin-inline-start:auto;border:0;background:none;color:inherit;font:inherit;cursor:pointer}a{color:inherit}'
  const place = as => {
    if (!boxes) {
      boxes = add(d.body, 'div', 'root').attachShadow({ mode: 'open' })
      const sheet = new CSSStyleSheet
      sheet.replaceSync(css)
      boxes.adoptedStyleSheets = [sheet]
    }
    return boxes.querySelector('.offerstream-' + as) || add(boxes, 'div', as)
  }

  const show = o => {
    const data = Object(o.data) === o.data ? o.data : { title: o.data }
    if (offers.has(o.id) || mem.s[o.id] & 2) return
    const on = { shown: () => tell(o, 'Shown', 1), clicked: () => tell(o, 'Clicked', 2), dismissed() { tell(o, 'Dismissed', 2); hide(o.id, 'dismissed') } }
    const mine = { o }
    offers.set(o.id, mine)
    if (opt.show?.(o, on)) return
    const slot = [...d.querySelectorAll('[data-offerstream-slot]')].find(s => s.dataset.offerstreamSlot == (data.slot || ''))
    const as = slot ? 'slot' : (data.as || opt.as) == 'toast' ? 'toast' : 'banner'
    const box = add(slot || place(as), 'div', 'box'), before = d.activeElement
    box.role = as == 'banner' ? 'dialog' : 'status'
    box.ariaLabel = text(data.title) || opt.label
    mine.box = box
    for (const part of ['title', 'text']) if (text(data[part])) add(box, 'span', part, text(data[part]))
    if (o.coupon) add(box, 'code', 'code', o.coupon.code)
    if (o.expires) {
      const clock = add(box, 'span', 'clock')
      clock.role = 'timer'
      const tick = () => {
        const s = Math.ceil((Date.parse(o.expires) - Date.now()) / 1e3)
        if (s <= 0) return hide(o.id, 'expired')
        clock.textContent = (s < 3600 ? '' : (s / 3600 | 0) + ':') + new Date(s * 1e3).toISOString().slice(14, 19)
        mine.timer = setTimeout(tick, 1e3)
      }
      tick()
    }
    const href = link(data.url)
    if (href) {
      const a = add(box, 'a', 'link', text(data.button) || href)
      a.href = href
      a.onclick = on.clicked
    }
    const close = add(box, 'button', 'close', '×')
    close.type = 'button'
    close.ariaLabel = opt.close
    close.onclick = () => { on.dismissed(); before?.focus?.() }
    box.onkeydown = e => { if (e.key == 'Escape') close.onclick() }
    if (as == 'banner' && before == d.body) {
      box.tabIndex = -1
      box.focus()
    }
    on.shown()
  }
  const hide = (id, reason) => {
    const was = offers.get(id)
    if (!was) return
    offers.delete(id)
    clearTimeout(was.timer)
    was.box?.remove()
    opt.hide?.(was.o, reason)
  }

  // The stream.
  const took = { offer: show, gone: g => hide(g.id, g.reason), token: keep, login: async () => { stop(); const u = user || await opt.login?.(); if (u) { user = u; stream() } } }
  const take = block => {
    const { id, event, data } = Object.fromEntries(block.split('\n').map(line => line.split(/: (.*)/)))
    last = id || last
    took[event]?.(JSON.parse(data))
  }
  const stop = () => { run++; abort?.abort(); wait?.() }
  const stream = async () => {
    const mine = ++run
    for (let tries = 0; mine == run; tries++) {
      try {
        const token = await userToken(), v = token ? 0 : await visit()
        abort = new AbortController
        const headers = { Authorization: 'Bearer ' + (token || v.token) }
        if (token) { headers['X-Write-Key'] = opt.key; headers['Offerstream-User'] = encodeURIComponent(user.id) }
        if (last) headers['Last-Event-ID'] = last
        if (mine != run) return
        const r = await call('offers/stream', { headers, signal: abort.signal, cache: 'no-store' })
        if (r.status == 401) {
          if (v) visitor.expires = 0
          else if (typeof user.token != 'function') return
        }
        if (!r.ok) throw r
        const from = r.body.pipeThrough(new TextDecoderStream).getReader(), of = abort
        for (let got = '', dead; ;) {
          dead = setTimeout(() => of.abort(), 6e4)
          const { value, done } = await from.read()
          clearTimeout(dead)
          if (done || mine != run) break
          got += value
          tries = 0
          for (let i; (i = got.indexOf('\n\n')) >= 0; got = got.slice(i + 2)) take(got.slice(0, i))
        }
      } catch {}
      if (mine == run) await later(Math.min(3e4, 1e3 * 2 ** tries) * (.5 + Math.random() / 2), 1)
    }
  }

  window.offerstream = {
    start(o) {
      stop()
      const s = script?.dataset || {}
      opt = { gateway: script?.src.replace(/\/v1\/[^/]*$/, ''), key: s.key, as: s.as, links: s.links?.split(',') || [location.host], label: 'Offer', close: 'Close', ...o }
      user = opt.user
      try { mem = JSON.parse(localStorage.getItem(store)) } catch {}
      mem ||= {}
      mem.s ||= {}
      visitor = mem.v
      stream()
    },
    visitor: async () => (await visit()).id,
    token: async () => (await visit()).token,
    track: (name, properties) => send('track', name, properties),
    page: (name, properties) => send('page', undefined, properties, { name }),
    async identify(id, { token, traits } = {}) {
      const mine = run
      user = { id, token }
      await send('identify', undefined, undefined, { traits })
      // The visitor's stream ends when he has become the user; then the user's begins.
      if (token) later(3e3).then(() => { if (mine == run) took.login() })
    },
    reset() {
      stop()
      for (const id of [...offers.keys()]) hide(id, 'reset')
      user = 0
      last = ''
      mem = { s: {} }
      save()
      visitor = 0
      stream()
    },
  }
  if (script?.dataset.key) window.offerstream.start()
})()
