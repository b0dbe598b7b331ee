// The demo's own script. It sends an event before a button leaves the page, and shows the
// feed: a shop needs nothing of it. It writes text only.
(() => {
  'use strict'
  const $ = id => document.getElementById(id)
  const item = (list, ...parts) => {
    const li = document.createElement('li')
    for (const [tag, said] of parts) if (said) li.appendChild(document.createElement(tag)).textContent = said
    list.append(li)
    return li
  }

  // One's own events, of this tab.
  const most = 8, told = JSON.parse(sessionStorage.getItem('events') || '[]')
  for (const e of told) if (e.state === 'sending') e.state = 'page was left'
  const showEvents = () => {
    if (!told.length) return
    $('events').replaceChildren()
    for (const e of told) item($('events'), ['time', e.at], ['b', e.name], ['span', e.about], ['em', e.state])
    sessionStorage.setItem('events', JSON.stringify(told))
  }
  const about = p => Object(p) === p ? p.product_id || p.hotel_id || p.posting_id || p.category || p.query || p.products?.map(p => p.product_id).join(', ') : p
  for (const kind of ['page', 'track', 'identify']) {
    const send = offerstream[kind]
    offerstream[kind] = async (name, more) => {
      const e = { at: new Date().toTimeString().slice(0, 8), name: kind === 'track' ? name : kind, about: kind === 'track' ? about(more) : more?.referrer ? name + ', from ' + new URL(more.referrer).host : name, state: 'sending' }
      told.unshift(e)
      told.length = Math.min(told.length, most)
      showEvents()
      try {
        await send(name, more)
        e.state = ''
      } catch (failed) {
        e.state = failed.status ? 'refused: ' + failed.status : 'not sent'
      }
      showEvents()
      look()
    }
  }

  // What came of them. It is asked for after each event, and when an offer comes or goes.
  let asked, again
  const look = async () => {
    if (asked) return again = true
    asked = true
    try {
      const r = await fetch('/why?visitor=' + encodeURIComponent(await offerstream.visitor()))
      if (r.ok) showReasons(await r.json())
    } catch {} // as when the page is left
    asked = false
    if (again) { again = false; look() }
  }
  const showReasons = all => {
    if (!all.length) return
    $('reasons').replaceChildren()
    $('others').replaceChildren()
    for (const x of all) item($(x.idle ? 'others' : 'reasons'), ['b', x.campaign], ['em', x.channel], ['span', x.sentence]).className = x.channel ? 'sent' : ''
  }

  // A banner lies over the top of the page, which moves down.
  const makeRoom = () => setTimeout(() => {
    const banner = document.querySelector('.offerstream-root')?.shadowRoot.querySelector('.offerstream-banner')
    document.body.style.paddingTop = (banner?.offsetHeight || 0) + 'px'
  })
  addEventListener('resize', makeRoom)
  const start = offerstream.start, changed = () => { makeRoom(); look() }
  offerstream.start = options => {
    const show = offer => {
      const coupon = $('coupon')
      if (coupon && offer.coupon) coupon.value ||= offer.coupon.code
      if (offer.data.categories) rank(offer.data.categories)
      changed()
      return options.show(offer)
    }
    start({ ...options, show, hide: changed })
  }

  // On the home page, what the customer likes comes first, unless the focus is on it already.
  const rank = categories => {
    const list = document.querySelector('[data-offerstream-slot=top] ~ .products')
    if (!list || list.contains(document.activeElement)) return
    const place = li => (categories.indexOf(li.querySelector('.picture').dataset.category) + 1) || 99
    list.append(...[...list.children].sort((a, b) => place(a) - place(b)))
  }

  // Forms that send an event, or log in or out, before they go on.
  const fields = form => new URLSearchParams(new FormData(form))
  const send = form => fetch(form.action, { method: 'POST', body: fields(form) })
  const before = {
    async redeem(form) {
      if (form.elements.coupon?.value) {
        const r = await fetch('/redeem', { method: 'POST', body: fields(form) })
        if (!r.ok) return form.querySelector('output').textContent = await r.text()
      }
      return before.event(form)
    },
    async event(form) {
      await offerstream.track(form.dataset.event, JSON.parse(form.dataset.properties))
      if (form.method === 'post') return form.submit()
      form.querySelector('button').textContent = form.dataset.done
    },
    async fetch(form) {
      const r = await send(form)
      form.querySelector('button').textContent = await r.text()
      for (const ms of [300, 1000, 3000, 10000]) setTimeout(look, ms) // the item tells its watchers a moment later
    },
    async login(form) {
      if (!(await send(form)).ok) return
      await offerstream.identify(form.elements.name.value.trim(), { token: () => fetch('/token').then(r => r.text()) })
      location = '/'
    },
    async logout(form) {
      sessionStorage.removeItem('events')
      offerstream.reset()
      await offerstream.visitor() // the new one
      form.submit()
    },
  }
  document.addEventListener('submit', e => {
    for (const what in before) if (what in e.target.dataset) { e.preventDefault(); return before[what](e.target) }
  })
  showEvents()
})()
