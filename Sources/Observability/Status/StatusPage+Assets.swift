extension StatusPage {
    /// A dot in the colour of the worst problem, so that a forgotten browser tab still tells. As a data URL.
    static func icon(_ level: Level, _ html: inout HTMLWriter) {
        html.raw("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E")
        html.raw("%3Ccircle cx='4' cy='4' r='4' fill='%23")
        switch level {
        case .fine: html.raw("2e7d4f")
        case .warning: html.raw("b26a00")
        case .critical: html.raw("c62828")
        }
        html.raw("'/%3E%3C/svg%3E")
    }

    static let style: StaticString = """
        :root{--paper:#fff;--ink:#1c1e21;--quiet:#646b73;--line:#dfe2e6;--red:#b3261e;--redpaper:#fdecea;--amber:#8a5200;
        --amberpaper:#fff5e0;--green:#226b40;--one:#2f6db5;--two:#c2571a}
        @media(prefers-color-scheme:dark){:root{--paper:#15171a;--ink:#e3e5e8;--quiet:#979ea7;--line:#30353b;--red:#ff8a80;
        --redpaper:#3a1a18;--amber:#f0b45a;--amberpaper:#33260f;--green:#7fc79b;--one:#7fb2ec;--two:#f09a66}}
        *{box-sizing:border-box}
        body{margin:0 auto;padding:0 16px 32px;max-width:1280px;background:var(--paper);color:var(--ink);
        font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
        li,td:first-child,.text,.verdict{overflow-wrap:anywhere}
        a{color:inherit}
        header{display:flex;flex-wrap:wrap;gap:0 16px;justify-content:space-between;padding:8px 0;color:var(--quiet)}
        header b{color:var(--ink)}
        #stale{position:sticky;top:0;z-index:1;margin:0 -16px;padding:8px 16px;background:var(--red);color:var(--paper);
        font-weight:600}
        .quiet{color:var(--quiet);font-weight:400}
        h1{margin:0;padding:8px 12px;font-size:20px;line-height:1.3;border-left:6px solid}
        h1.fine{color:var(--green)}h1.warning{color:var(--amber)}h1.critical{color:var(--red);background:var(--redpaper)}
        .problems{list-style:none;margin:0;padding:0}
        .problems li{padding:6px 12px;border-left:6px solid;border-bottom:1px solid var(--line)}
        .problems li.critical{border-left-color:var(--red)}.problems li.warning{border-left-color:var(--amber)}
        .verdict>p{margin:6px 12px 0 18px}
        .advice::before{content:"→ "}
        .figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(112px,1fr));gap:12px 16px;margin:16px 0}
        .figures dt{color:var(--quiet)}
        .figures dd{margin:0}
        .figures dt+dd{font-size:20px;line-height:1.3;white-space:nowrap}
        dd.warning{color:var(--amber)}dd.critical{color:var(--red)}
        .charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:16px 32px}
        figure{margin:0;min-width:0}
        figcaption{color:var(--quiet);margin-bottom:4px}
        .key{color:var(--ink);white-space:nowrap}
        .key::before{content:"";display:inline-block;width:14px;height:3px;margin:0 4px 3px 4px;background:var(--c)}
        .received,.p95{--c:var(--one)}.stored,.median{--c:var(--two)}
        .plot{display:grid;grid-template-columns:auto 1fr;column-gap:8px}
        .plot svg{width:100%;height:96px;overflow:visible}
        .scale{display:flex;flex-direction:column;justify-content:space-between;height:96px;min-width:6ch;text-align:right;
        line-height:1}
        .scale,.times{font-size:12px;color:var(--quiet)}
        .times{grid-column:2;display:flex;justify-content:space-between}
        .grid{stroke:var(--line);fill:none}
        .line{fill:none;stroke:var(--c);stroke-width:1.5;stroke-linejoin:round;stroke-linecap:round}
        .grid,.line{vector-effect:non-scaling-stroke}
        h2{font-size:16px;margin:24px 0 4px}
        table{width:100%;border-collapse:collapse}
        th{text-align:left;font-weight:400;color:var(--quiet)}
        th,td{padding:4px 12px 4px 0;vertical-align:top;border-bottom:1px solid var(--line)}
        th:first-child,td:first-child{padding-left:10px;border-left:4px solid transparent}
        th:last-child,td:last-child{padding-right:0}
        tr.critical>td:first-child{border-left-color:var(--red)}tr.warning>td:first-child{border-left-color:var(--amber)}
        .num{text-align:right}td.num,td.wide{white-space:nowrap}
        td:first-child{min-width:130px}.text{min-width:96px}
        .noted>td{border-bottom:0;padding-bottom:0}.noted+tr>td{padding-top:0}
        .state{white-space:nowrap}.state .quiet{display:block}
        .error{color:var(--red)}
        tr.warning .error{color:var(--amber)}
        .url{font-size:13px}
        .bar{width:50px;height:8px;margin-left:4px}
        .bar rect{fill:var(--line)}.bar .used{fill:var(--quiet)}
        tr.critical .bar .used{fill:var(--red)}tr.warning .bar .used{fill:var(--amber)}
        summary{padding:6px 10px;cursor:pointer;color:var(--quiet)}
        footer{margin-top:32px;color:var(--quiet)}
        footer a{margin-right:12px}
        @media(max-width:640px){.wide{display:none}body{padding:0 12px 24px}.figures{grid-template-columns:1fr 1fr}
        th,td{padding-right:8px}.bar{display:block;margin:3px 0 0 auto}.state{white-space:normal}}
        @media(max-width:1000px){.widest{display:none}}
        """

    /// Fetches `main` and makes the one there is like it, node by node: selections, scroll position and what is unfolded stay.
    static let script: StaticString = """
        (() => {
        const main = document.querySelector('main'), stale = document.getElementById('stale');
        const icon = document.querySelector('link[rel=icon]');
        let busy = false, good = Date.now();
        function morph(a, b) {
        if (a.nodeName !== b.nodeName) { a.replaceWith(b); return; }
        if (a.nodeType === 3) { if (a.data !== b.data) a.data = b.data; return; }
        for (const t of [...a.attributes]) if (t.name !== 'open' && !b.hasAttribute(t.name)) a.removeAttribute(t.name);
        for (const t of b.attributes) if (a.getAttribute(t.name) !== t.value) a.setAttribute(t.name, t.value);
        const old = [...a.childNodes], now = [...b.childNodes];
        now.forEach((n, i) => i < old.length ? morph(old[i], n) : a.append(n));
        old.slice(now.length).forEach(n => n.remove());
        }
        async function refresh() {
        if (busy || document.hidden) return;
        busy = true;
        try {
        const answer = await fetch('?part=main', { cache: 'no-store', signal: AbortSignal.timeout(10000) });
        if (!answer.ok) throw new Error(answer.status);
        const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('main');
        morph(main, fresh);
        document.title = main.dataset.title;
        if (icon.getAttribute('href') !== main.dataset.icon) icon.setAttribute('href', main.dataset.icon);
        good = Date.now();
        stale.hidden = true;
        } catch {
        const seconds = Math.round((Date.now() - good) / 1000);
        if (seconds > 4) {
        stale.textContent = 'The daemon has not answered for ' + seconds + ' s. What you see is old.';
        stale.hidden = false;
        document.title = 'No answer – scada-ingestion';
        }
        }
        busy = false;
        }
        setInterval(refresh, 2000);
        document.addEventListener('visibilitychange', refresh);
        })();
        """
}
