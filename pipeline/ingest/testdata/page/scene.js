// What TestPageInBrowser does in the page. The test's own server does what do_ asks for.
const do_ = async (what, more) => {
  const r = await fetch('/do/' + what, { method: 'POST', body: JSON.stringify(more || {}) })
  if (!r.ok) throw new Error(what + ': ' + await r.text())
  return r.json()
}
const until = async (what, is) => {
  for (const end = Date.now() + 60000; Date.now() < end; await new Promise(ok => setTimeout(ok, 10))) {
    const got = await is()
    if (got) return got
  }
  throw new Error('awaited in vain: ' + what + ': ' + seen().map(b => b.textContent))
}
const equal = (got, want, what) => { if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(what + ': ' + JSON.stringify(got) + ', want ' + JSON.stringify(want)) }
const root = () => document.querySelector('.offerstream-root')?.shadowRoot
const seen = () => [...(root()?.querySelectorAll('.offerstream-box') || []), ...document.querySelectorAll('.offerstream-box')]
const boxOf = title => seen().find(b => b.querySelector('.offerstream-title')?.textContent === title)
const appears = title => until(title + ' appears', () => boxOf(title))
const goes = title => until(title + ' goes', () => !boxOf(title))
const sent = async (event, offer) => (await do_('events')).filter(e => e.event === event && e.properties.offer_id === offer)

const violations = []
document.addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective + ' ' + e.blockedURI))

const scene = async () => {
  const id = await offerstream.visitor()
  const mine = more => do_('offer', { user: id, anonymous: true, ...more })

  // A banner, with HTML in its data.
  const html = '<img src=x onerror="document.title=1"><b>50%</b> & more'
  const first = await mine({ campaign: 'html', data: { title: html, text: { ko: '오늘만', en: 'today' }, url: '/sale', button: '보기' } })
  const banner = await appears(html)
  equal([banner.role, banner.ariaLabel, banner.parentNode.className], ['dialog', html, 'offerstream-banner'], 'the banner')
  equal(banner.querySelectorAll('img, b').length, 0, 'elements of its data')
  equal(banner.querySelector('.offerstream-text').textContent, '오늘만', 'its text')
  equal(root().activeElement === banner, true, 'it has the focus')
  const a = banner.querySelector('a')
  equal([a.href, a.textContent], [location.origin + '/sale', '보기'], 'its link')
  equal(getComputedStyle(banner.parentNode).position, 'fixed', 'its style')
  await until('it is told that it was shown', async () => (await sent('Offer Shown', first)).length)
  const [e] = await sent('Offer Shown', first)
  equal([e.type, e.anonymousId, e.properties.campaign, e.properties.channel, e.visitorToken], ['system', id, 'html', 'web', undefined], 'the event')
  a.addEventListener('click', e => e.preventDefault())
  a.click()
  await until('the click is told', async () => (await sent('Offer Clicked', first)).length)
  banner.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }))
  await goes(html)

  // Links go to the page's host alone.
  for (const [i, url] of ['javascript:alert(1)', 'https://evil.example/', '//evil.example', 'data:text/html,x', 'http://[', 7].entries()) {
    await mine({ campaign: 'link', data: { title: 'link ' + i, url } })
    const box = await appears('link ' + i)
    equal(box.querySelectorAll('a').length, i === 5 ? 1 : 0, 'a link to ' + url)
  }
  await until('one of a campaign is there', () => seen().length === 1)

  // A toast, and a slot; the focus stays where it is.
  document.querySelector('#search').focus()
  const toast = await mine({ campaign: 'toast', data: { as: 'toast', title: 'toast' }, coupon: 'SAVE-1' })
  const box = await appears('toast')
  equal([box.role, box.parentNode.className, box.querySelector('code').textContent], ['status', 'offerstream-toast', 'SAVE-1'], 'the toast')
  await mine({ campaign: 'slot', data: { slot: 'top', title: 'slot' } })
  equal((await appears('slot')).parentNode === document.querySelector('[data-offerstream-slot]'), true, 'the slot')
  await mine({ campaign: 'second', data: { title: 'second' } })
  equal((await appears('second')).querySelectorAll('a').length, 0, 'links of an offer without one')
  equal(document.activeElement.id, 'search', 'the focus')

  // Dismissal.
  equal(box.querySelector('button').ariaLabel, 'Close', 'the button')
  box.querySelector('button').click()
  await goes('toast')
  await until('the dismissal is told', async () => (await sent('Offer Dismissed', toast)).length)

  // A countdown, after which the offer goes.
  await mine({ campaign: 'soon', data: { title: 'soon' }, seconds: 2 })
  const clock = (await appears('soon')).querySelector('[role=timer]')
  equal(/^00:0[12]$/.test(clock.textContent), true, 'the clock ' + clock.textContent)
  await goes('soon')

  // Redeemed.
  const used = await mine({ campaign: 'used', data: { title: 'used' } })
  await appears('used')
  await do_('record', { type: 'redeemed', offer: used })
  await goes('used')

  // The gateway is restarted: what is there stays, and is not told again; what was redeemed
  // meanwhile goes, and what is new comes.
  const away = await mine({ campaign: 'away', data: { title: 'away' } }), leaving = await appears('away')
  await until('it is told', async () => (await sent('Offer Shown', away)).length)
  const before = seen().filter(b => b !== leaving), shown = (await do_('events')).filter(e => e.event === 'Offer Shown').length
  await do_('restart', { offer: away })
  await goes('away')
  await mine({ campaign: 'restarted', data: { title: 'restarted' } })
  await appears('restarted')
  equal(before.every(b => b.isConnected), true, 'what was there stays')
  await until('it is told', async () => (await do_('events')).filter(e => e.event === 'Offer Shown').length === shown + 1)

  // Login: the visitor's offers stay, the user's come.
  const there = seen().length
  await offerstream.identify('ann é', { token: async () => do_('token', { user: 'ann é' }), traits: { city: 'Seoul' } })
  const login = (await do_('events')).filter(e => e.type === 'identify')
  equal([login.length, login[0].userId, login[0].anonymousId, login[0].proof, login[0].traits], [1, 'ann é', id, undefined, { city: 'Seoul' }], 'identify')
  await do_('record', { type: 'merged', visitor: id, user: 'ann é' })
  await do_('offer', { user: 'ann é', campaign: 'user', data: { title: 'user' } })
  await appears('user')
  equal(seen().length, there + 1, 'offers after the login')
  await offerstream.track('Product Viewed', { product_id: 'p1' })
  const [view] = (await do_('events')).filter(e => e.event === 'Product Viewed')
  equal([view.userId, view.proof, view.properties.product_id, view.context.page.path], ['ann é', undefined, 'p1', '/'], 'an event of the user')

  // Logout.
  offerstream.reset()
  equal(seen().length, 0, 'offers after the logout')
  const next = await offerstream.visitor()
  equal(next !== id && next.startsWith('ov_'), true, 'the next visitor ' + next)
  await do_('offer', { user: 'ann é', campaign: 'late', data: { title: 'late' } })
  await do_('offer', { user: next, anonymous: true, campaign: 'next', data: { title: 'next' } })
  await appears('next')
  equal(seen().length, 1, 'offers of the next visitor')

  // The page shows offers itself.
  const shows = [], hides = []
  offerstream.start({ show: (o, report) => { shows.push(o.data.title); report.shown(); return true }, hide: (o, why) => hides.push(o.data.title + ' ' + why) })
  const own = await do_('offer', { user: next, anonymous: true, campaign: 'own', data: { title: 'own' } })
  await until('the page shows it', () => shows.includes('own'))
  await do_('record', { type: 'redeemed', offer: own })
  await until('the page hides it', () => hides.includes('own redeemed'))
  equal(violations, [], 'violations of the policy')
  equal(document.title, 'Shop', 'the title')
}
scene().then(() => do_('done'), e => do_('done', { failed: String(e.stack || e) }))
