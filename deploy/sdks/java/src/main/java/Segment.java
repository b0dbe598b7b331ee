import com.segment.analytics.Analytics;
import com.segment.analytics.messages.AliasMessage;
import com.segment.analytics.messages.GroupMessage;
import com.segment.analytics.messages.IdentifyMessage;
import com.segment.analytics.messages.PageMessage;
import com.segment.analytics.messages.TrackMessage;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** The scene of scene.mjs, with Segment's SDK for Java. */
public class Segment {
  public static void main(String[] args) throws Exception {
    Analytics analytics = Analytics.builder(args[1]).endpoint(args[0]).flushInterval(1, TimeUnit.SECONDS).build();

    Map<String, Object> proof = Map.of("userToken", args[2]);
    Map<String, Object> odd = new HashMap<>();
    odd.put("text", "é \"quoted\" \\ \u2028 😀");
    odd.put("empty", "");
    odd.put("nothing", null);
    odd.put("yes", true);
    odd.put("big", 1e21);
    odd.put("small", .1);
    odd.put("list", Arrays.asList(1, "a", Collections.singletonMap("b", null)));
    odd.put("deep", Map.of("a", Map.of("b", Map.of("c", List.of()))));
    odd.put("a key.with dots", 1);

    analytics.enqueue(IdentifyMessage.builder().userId("ann").anonymousId("visitor").traits(Map.of("city", "Seoul")).context(proof));
    analytics.enqueue(PageMessage.builder("Home").userId("ann").properties(Map.of("path", "/")));
    analytics.enqueue(GroupMessage.builder("staff").userId("ann").traits(Map.of("floor", 3)));
    analytics.enqueue(AliasMessage.builder("visitor-2").userId("ann").context(proof));
    analytics.enqueue(TrackMessage.builder("Consent Granted").userId("ann").properties(Map.of("channel", "sms")).context(proof));
    analytics.enqueue(TrackMessage.builder("Odd").userId("ann").properties(odd));
    for (int i = 0; i < 1000; i++) {
      analytics.enqueue(TrackMessage.builder("Burst").userId("ann").properties(Map.of("i", i)));
    }
    analytics.flush();
    Thread.sleep(2_000);
    System.out.println("restart");
    for (int i = 0; i < 50; i++) {
      analytics.enqueue(TrackMessage.builder("Restart").userId("ann").properties(Map.of("i", i)));
      Thread.sleep(100);
    }
    Thread.sleep(40_000); // it waits longer and longer before it sends again, and shutdown drops that
    analytics.shutdown();
    System.exit(0);
  }
}
