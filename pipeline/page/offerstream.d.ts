// The types of the page's script, window.offerstream (deploy/PAGE.md).

export interface Offer {
  id: string
  campaign: string
  kind: 'advertising' | 'service'
  key?: string
  time: string
  expires?: string
  coupon?: { code: string; url?: string; discount?: string; expires?: string; single_use?: boolean; claim?: string }
  data?: unknown
}

/** What a page that shows an offer itself reports. Each is sent once of an offer. */
export interface Reports {
  shown(): void
  clicked(): void
  dismissed(): void
}

export interface User {
  id: string
  /** A user token, or what gets one from the shop's server: it is asked for whenever the stream begins. */
  token?: string | (() => string | Promise<string>)
}

export interface Options {
  /** The gateway's address; without it, from where the script was loaded. */
  gateway?: string
  /** A key of role browser; without it, the script element's data-key. */
  key?: string
  /** Hosts to which offers may link; without it, data-links, or the page's own host. */
  links?: string[]
  /** How offers appear that do not say it themselves; without it, data-as, or banner. */
  as?: 'banner' | 'toast'
  /** The name of an offer without a title, for screen readers: Offer. */
  label?: string
  /** The name of the button that dismisses, for screen readers: Close. */
  close?: string
  /** Who is logged in. */
  user?: User
  /** Called when the visitor has become a user: who that is. */
  login?(): User | undefined | Promise<User | undefined>
  /** Shows an offer. Returning true means that it did; else the script shows it. */
  show?(offer: Offer, report: Reports): boolean | void
  /** Called when an offer is gone: expired, redeemed, superseded, paused, dropped, ended, dismissed or reset. */
  hide?(offer: Offer, reason: string): void
}

export interface Offerstream {
  /** Begins. A script element with data-key has begun by itself. */
  start(options?: Options): void
  /** The visitor's id, for an SDK: analytics.setAnonymousId(await offerstream.visitor()). */
  visitor(): Promise<string>
  /** The visitor's token, which an SDK's identify needs (visitorToken) where the id is the gateway's. */
  token(): Promise<string>
  page(name?: string, properties?: Record<string, unknown>): Promise<void>
  track(event: string, properties?: Record<string, unknown>): Promise<void>
  identify(userId: string, more?: { token?: User['token']; traits?: Record<string, unknown> }): Promise<void>
  /** Logs out: offers disappear, and a new visitor begins. */
  reset(): void
}

declare global {
  interface Window { offerstream: Offerstream }
}
